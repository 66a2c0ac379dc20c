/* lookup.c - who does this API key belong to? The smallest useful program on librealmstore.
 *
 *   cc lookup.c $(pkg-config --cflags --libs realmstore) -o lookup
 *   ./lookup /var/lib/realm-agent realm:2b9c7c22-... cp < key-file
 *
 * Exit code 0: found, 1: not found, 2: cannot tell (also when the answer is too old).
 */
#include <stdio.h>
#include <string.h>
#include <realmstore.h>

enum { SOURCES_MAX = 8 };

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "lookup: %s: %s\n", what, why);
    return 2;
}

static void print_consumer(const rs_answer *answer)
{
    printf("%s %s", answer->id, answer->username != NULL ? answer->username : "-");
    for (size_t i = 0; i < answer->n_groups; i++)
        printf(" %s", answer->groups[i]);
    printf("\n");
}

int main(int argc, char **argv)
{
    char why[256] = "";
    rs_options options = RS_OPTIONS_INIT;
    rs_source sources[SOURCES_MAX];
    size_t n = 0;
    char key[1026];    /* a key of 1024 bytes, its newline, a NUL */
    char buffer[4096]; /* enough for usual consumers; else RS_E_TOO_SMALL says how many */
    rs_answer answer;
    rs_store *store;
    int rc;

    for (int i = 2; i < argc && n < SOURCES_MAX; i++) {
        if (rs_source_parse(argv[i], &sources[n++]) != 0)
            return fail(argv[i], "not a source (cp, realm:UUID)");
    }
    if (n == 0 || fgets(key, sizeof(key), stdin) == NULL)
        return fail("usage", "lookup STORE SOURCE... < KEY");
    key[strcspn(key, "\n")] = 0;

    options.message = why;
    options.message_size = sizeof(why);
    if (rs_open(&store, argv[1], &options) != 0)
        return fail(argv[1], why);
    rc = rs_lookup_copy(store, sources, n, key, strlen(key), buffer, sizeof(buffer), &answer);
    if (rc >= 0 && answer.id != NULL)
        print_consumer(&answer); /* a copy: it needs the store no more */
    rs_close(store);
    return rc < 0 ? fail(argv[1], rs_strerror(rc)) : rc;
}
