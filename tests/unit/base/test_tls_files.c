/* base/tls_files.h: certificates and keys that would fail at the first connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/tls_files.h"

enum { PEM_SIZE = 64 * 1024 };
static const int64_t year_ms = (int64_t)366 * 24 * 3600 * 1000;

#define MAKE "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 "

static int make_files(void **state)
{
    char *dir = strdup("/tmp/test_tls_files.XXXXXX");

    *state = dir;
    if (mkdtemp(dir) == NULL || chdir(dir) != 0)
        return -1;
    return system(
        "exec 2>/dev/null; " MAKE "-subj /CN=a -keyout a.key -out a.pem && " MAKE
        "-subj /CN=b -keyout b.key -out b.pem && cat a.pem b.pem >ab.pem && "
        "openssl pkey -in a.key -aes128 -passout pass:secret -out a.enc && "
        "openssl ec -in a.key -aes128 -passout pass:secret -out a.old && "
        "openssl ecparam -name prime256v1 >p.key && cat a.key >>p.key && "
        "sed '3s/./!/' a.pem >bad.pem && cat a.pem bad.pem >abad.pem && : >empty && " MAKE
        "-subj /CN=c -addext extendedKeyUsage=clientAuth -keyout u.client.key "
        "-out u.client.pem && " MAKE
        "-subj /CN=s -addext extendedKeyUsage=serverAuth -keyout u.server.key "
        "-out u.server.pem && " MAKE "-subj /CN=x -addext keyUsage=critical,keyCertSign,cRLSign "
        "-keyout u.authority.key -out u.authority.pem && "
        "for n in 1024 2048; do openssl req -x509 -newkey rsa:$n -nodes -subj /CN=r "
        "-keyout u.rsa$n.key -out u.rsa$n.pem || exit 1; done && "
        "openssl req -newkey rsa:2048 -nodes -subj /CN=h -keyout u.sha1.key -out u.csr && "
        "openssl x509 -req -sha1 -in u.csr -CA a.pem -CAkey a.key -CAcreateserial "
        "-out u.sha1.pem");
}

static int remove_files(void **state)
{
    int rc = system("rm -f a.* b.* u.* ab.pem p.key bad.pem abad.pem empty");

    if (chdir("/") != 0 || rmdir(*state) != 0)
        rc = -1;
    free(*state);
    return rc;
}

static struct tls_file load(const char *path, char pem[PEM_SIZE])
{
    FILE *file = fopen(path, "r");
    size_t size;

    assert_non_null(file);
    size = fread(pem, 1, PEM_SIZE, file);
    assert_int_equal(fclose(file), 0);
    return (struct tls_file){path, pem, size};
}

static int check_pair_for(enum tls_use use, const char *chain, const char *key, int64_t after_ms,
                          struct tls_warning *warning, struct error *err)
{
    static char pems[2][PEM_SIZE];
    struct tls_file files[2] = {load(chain, pems[0]), load(key, pems[1])};

    return tls_check_pair(&files[0], &files[1], use, clock_wall_ms() + after_ms, warning, err);
}

static int check_pair(const char *chain, const char *key, int64_t after_ms,
                      struct tls_warning *warning, struct error *err)
{
    return check_pair_for(TLS_SERVER, chain, key, after_ms, warning, err);
}

static void pairs_that_match_are_good(void **state)
{
    static const char *const good[][2] = {
        {"a.pem", "a.key"}, {"ab.pem", "a.key"}, {"a.pem", "p.key"}};
    struct tls_warning warning;
    struct error err = ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        if (check_pair(good[i][0], good[i][1], 0, &warning, &err) != 0)
            fail_msg("%s", err.message);
        assert_string_equal(warning.text, "");
    }
}

static void pairs_that_no_server_could_use_are_told_apart(void **state)
{
    static const char *const bad[][3] = {
        {"a.pem", "b.key", "do not match"},
        {"b.pem", "a.key", "do not match"},
        {"a.pem", "a.enc", "a.enc has a passphrase"},
        {"a.pem", "a.old", "a.old has a passphrase"},
        {"a.pem", "a.pem", "a.pem holds no private key"},
        {"a.pem", "empty", "empty holds no private key"},
        {"a.key", "a.key", "a.key holds no certificate"},
        {"empty", "a.key", "empty holds no certificate"},
        {"bad.pem", "a.key", "bad.pem: certificate 1 cannot be read"},
        {"abad.pem", "a.key", "abad.pem: certificate 2 cannot be read"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = ERROR_INIT;
        struct tls_warning warning;

        assert_int_equal(check_pair(bad[i][0], bad[i][1], 0, &warning, &err), E_CONFIG);
        if (strstr(err.message, bad[i][2]) == NULL)
            fail_msg("%s, not %s", err.message, bad[i][2]);
    }
}

static void pairs_that_the_other_end_refuses_are_refused_here(void **state)
{
    static const struct {
        const char *name;
        enum tls_use use;
        const char *why; /* NULL: good */
    } rows[] = {
        {"client", TLS_CLIENT, NULL},         {"client", TLS_SERVER, "not for a server"},
        {"server", TLS_SERVER, NULL},         {"server", TLS_CLIENT, "not for a client"},
        {"rsa1024", TLS_CLIENT, "too weak"},  {"rsa2048", TLS_CLIENT, NULL},
        {"sha1", TLS_CLIENT, "signature is"}, {"authority", TLS_SERVER, "not for a server"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char chain[32];
        char key[32];
        struct error err = ERROR_INIT;
        struct tls_warning warning;
        int rc;

        (void)snprintf(chain, sizeof(chain), "u.%s.pem", rows[i].name);
        (void)snprintf(key, sizeof(key), "u.%s.key", rows[i].name);
        rc = check_pair_for(rows[i].use, chain, key, 0, &warning, &err);
        if (rc != (rows[i].why == NULL ? 0 : E_CONFIG) ||
            (rc != 0 && strstr(err.message, rows[i].why) == NULL))
            fail_msg("%s: %d %s", rows[i].name, rc, err.message);
    }
}

static void certificates_out_of_their_time_are_warned_of(void **state)
{
    struct tls_warning warning;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(check_pair("ab.pem", "a.key", year_ms, &warning, &err), 0);
    assert_non_null(strstr(warning.text, "ab.pem: certificate 1 has expired"));
    assert_int_equal(check_pair("a.pem", "a.key", -year_ms, &warning, &err), 0);
    assert_non_null(strstr(warning.text, "is not valid before"));
}

static void authorities_are_certificates(void **state)
{
    static char pem[PEM_SIZE];
    struct tls_file file = load("ab.pem", pem);
    struct tls_warning warning;
    struct error err = ERROR_INIT;

    (void)state;
    assert_int_equal(tls_check_authorities(&file, clock_wall_ms(), &warning, &err), 0);
    assert_string_equal(warning.text, "");
    assert_int_equal(tls_check_authorities(&file, clock_wall_ms() + year_ms, &warning, &err), 0);
    assert_non_null(strstr(warning.text, "has expired"));
    file = load("a.key", pem);
    assert_int_equal(tls_check_authorities(&file, clock_wall_ms(), &warning, &err), E_CONFIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_that_match_are_good),
        cmocka_unit_test(pairs_that_no_server_could_use_are_told_apart),
        cmocka_unit_test(pairs_that_the_other_end_refuses_are_refused_here),
        cmocka_unit_test(certificates_out_of_their_time_are_warned_of),
        cmocka_unit_test(authorities_are_certificates),
    };

    return cmocka_run_group_tests(tests, make_files, remove_files);
}
