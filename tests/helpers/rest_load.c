/* rest_load.c - an operator with many hands: fills a control plane over REST, changes it at random
 * while it is being killed, and lists what it holds.
 *
 *   rest_load [options] fill       creates --consumers with a key each in --realm
 *   rest_load [options] churn      makes --changes random changes in the --realm's, survives a
 * server that goes away, and at the end checks that all that was acknowledged holds; exit 1 when
 * not rest_load [options] list       prints every consumer of every --realm with its keys, a JSON
 * line each
 *
 * Options: --url URL --token-file FILE --realm UUID (repeatable) --consumers N --changes N --seed S
 * --parallel P
 *
 * Each thread works on consumers of its own, so its model of them needs no lock. An unanswered
 * request may have been carried out: each operation is written so that repeating it finds out.
 */
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <curl/curl.h>
#include <jansson.h>

#include "tests/lib/rest.h"

enum {
    REALMS_MAX = 16,
    KEYS_MAX = 8,
    ID_SIZE = 37,
    PATH_SIZE = 512,
    RETRY_MS = 20,
    RETRIES = 3000
};

struct options {
    const char *url;
    char token[512];
    const char *realms[REALMS_MAX];
    size_t n_realms;
    long consumers;
    long changes;
    unsigned seed;
    long parallel;
};

struct member {
    char id[ID_SIZE];
    char username[64];
    const char *realm; /* NULL: deleted */
    const char *group;
    char keys[KEYS_MAX][ID_SIZE];
    size_t n_keys;
};

struct worker {
    const struct options *options;
    struct rest_client *client;
    unsigned number;
    unsigned random;
    struct member *members;
    size_t n_members;
    size_t capacity;
    pthread_t thread;
};

static atomic_long work_left;
static atomic_long faults;

static void fault(const char *what, const struct member *member, long status)
{
    (void)fprintf(stderr, "rest_load: %s %s (%s): status %ld\n", what, member->id, member->username,
                  status);
    atomic_fetch_add(&faults, 1);
}

/* Repeats until there is an answer; *ret_repeated (may be NULL) says whether an earlier try may
 * have worked. */
static long call(struct worker *w, const char *method, const char *path, json_t *body, json_t **ret,
                 bool *ret_repeated)
{
    const struct timespec pause = {0, RETRY_MS * 1000000L};
    long status = REST_NO_ANSWER;
    bool resent = false;
    int tries = 0;

    while (status == REST_NO_ANSWER || status == 503) {
        if (tries > RETRIES) {
            (void)fprintf(stderr, "rest_load: %s %s: no answer\n", method, path);
            exit(1);
        }
        if (tries > 0) {
            if (ret != NULL)
                json_decref(*ret);
            (void)nanosleep(&pause, NULL);
        }
        tries++;
        status = rest_call(w->client, method, path, json_incref(body), ret);
        resent |= rest_may_be_resent(w->client);
    }
    json_decref(body);
    if (ret_repeated != NULL)
        *ret_repeated = tries > 1 || resent;
    return status;
}

static unsigned draw(struct worker *w, unsigned below)
{
    return (unsigned)rand_r(&w->random) % below;
}

static void copy_id(char id[ID_SIZE], const json_t *object)
{
    const char *text = json_string_value(json_object_get(object, "id"));

    (void)snprintf(id, ID_SIZE, "%s", text != NULL ? text : "");
}

static const char *consumer_path(char path[PATH_SIZE], const struct member *m, const char *rest)
{
    (void)snprintf(path, PATH_SIZE, "/v1/realms/%s/consumers/%s%s", m->realm, m->id, rest);
    return path;
}

/* ---- operations ---- */

static struct member *new_member(struct worker *w)
{
    struct member *m;

    if (w->n_members == w->capacity) {
        w->capacity = w->capacity > 0 ? 2 * w->capacity : 64;
        w->members = realloc(w->members, w->capacity * sizeof(*w->members));
        if (w->members == NULL)
            exit(2);
    }
    m = &w->members[w->n_members];
    memset(m, 0, sizeof(*m));
    (void)snprintf(m->username, sizeof(m->username), "u-%u-%u-%zu", w->options->seed, w->number,
                   w->n_members);
    w->n_members++;
    return m;
}

static void create_consumer(struct worker *w)
{
    struct member *m = new_member(w);
    const char *realm = w->options->realms[draw(w, (unsigned)w->options->n_realms)];
    char path[PATH_SIZE];
    json_t *answer = NULL;
    json_t *found = NULL;
    long status;

    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers", realm);
    status = call(w, "POST", path,
                  json_pack("{s:s,s:[s]}", "username", m->username, "consumer_groups", "first"),
                  &answer, NULL);
    if (status == 201) {
        copy_id(m->id, answer);
    } else if (status == 409) { /* an unanswered try had worked */
        (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers?filter%%5Busername%%5D=%s",
                       realm, m->username);
        status = call(w, "GET", path, NULL, &found, NULL);
        copy_id(m->id, json_array_get(json_object_get(found, "data"), 0));
    }
    if (m->id[0] == 0)
        fault("cannot create", m, status);
    m->realm = m->id[0] != 0 ? realm : NULL;
    m->group = "first";
    json_decref(answer);
    json_decref(found);
}

/* Takes the list of keys over as the server has it. */
static void adopt_keys(struct worker *w, struct member *m)
{
    char path[PATH_SIZE];
    json_t *answer = NULL;
    size_t i;
    json_t *key;

    (void)call(w, "GET", consumer_path(path, m, "/keys?page%5Bsize%5D=100"), NULL, &answer, NULL);
    m->n_keys = 0;
    json_array_foreach(json_object_get(answer, "data"), i, key)
    {
        if (m->n_keys < KEYS_MAX)
            copy_id(m->keys[m->n_keys++], key);
    }
    json_decref(answer);
}

static void create_key(struct worker *w, struct member *m)
{
    char path[PATH_SIZE];
    json_t *answer = NULL;
    bool repeated;
    long status;

    if (m->n_keys >= KEYS_MAX / 2) /* room for those of unanswered tries */
        return;
    status = call(w, "POST", consumer_path(path, m, "/keys"), json_pack("{s:s}", "type", "new"),
                  &answer, &repeated);
    if (status != 201)
        fault("cannot create a key of", m, status);
    else if (repeated)
        adopt_keys(w, m);
    else
        copy_id(m->keys[m->n_keys++], answer);
    json_decref(answer);
}

static void delete_key(struct worker *w, struct member *m)
{
    char path[PATH_SIZE];
    char rest[64];
    bool repeated;
    long status;

    if (m->n_keys == 0)
        return;
    (void)snprintf(rest, sizeof(rest), "/keys/%s", m->keys[m->n_keys - 1]);
    status = call(w, "DELETE", consumer_path(path, m, rest), NULL, NULL, &repeated);
    if (status != 204 && !(repeated && status == 404))
        fault("cannot delete a key of", m, status);
    m->n_keys--;
}

static void change_group(struct worker *w, struct member *m)
{
    static const char *const groups[] = {"gold", "silver", "bronze"};
    char path[PATH_SIZE];
    long status;

    m->group = groups[draw(w, 3)];
    status = call(w, "PATCH", consumer_path(path, m, ""),
                  json_pack("{s:[s]}", "consumer_groups", m->group), NULL, NULL);
    if (status != 200)
        fault("cannot change", m, status);
}

static void delete_consumer(struct worker *w, struct member *m)
{
    char path[PATH_SIZE];
    bool repeated;
    long status = call(w, "DELETE", consumer_path(path, m, ""), NULL, NULL, &repeated);

    if (status != 204 && !(repeated && status == 404))
        fault("cannot delete", m, status);
    m->realm = NULL;
}

static void move_consumer(struct worker *w, struct member *m)
{
    const char *target = w->options->realms[draw(w, (unsigned)w->options->n_realms)];
    char path[PATH_SIZE];
    bool repeated;
    long status;

    if (target == m->realm)
        return;
    status = call(w, "POST", consumer_path(path, m, "/move"),
                  json_pack("{s:s}", "target_realm_id", target), NULL, &repeated);
    if (status != 201 && !(repeated && status == 404))
        fault("cannot move", m, status);
    m->realm = target;
}

static void change_something(struct worker *w)
{
    struct member *m = w->n_members > 0 ? &w->members[draw(w, (unsigned)w->n_members)] : NULL;
    unsigned dice = draw(w, 100);

    if (m == NULL || m->realm == NULL || dice < 30)
        create_consumer(w);
    else if (dice < 60)
        create_key(w, m);
    else if (dice < 75)
        change_group(w, m);
    else if (dice < 87)
        delete_key(w, m);
    else if (dice < 94)
        delete_consumer(w, m);
    else
        move_consumer(w, m);
}

/* ---- checking ---- */

static bool has_key(const struct member *m, const char *id)
{
    for (size_t i = 0; i < m->n_keys; i++) {
        if (strcmp(m->keys[i], id) == 0)
            return true;
    }
    return false;
}

static void check_member(struct worker *w, struct member *m)
{
    struct member seen = *m;
    char path[PATH_SIZE];
    json_t *answer = NULL;
    long status;
    const char *group;

    if (m->id[0] == 0)
        return;
    for (size_t i = 0; m->realm == NULL && i < w->options->n_realms; i++) {
        seen.realm = w->options->realms[i];
        if (call(w, "GET", consumer_path(path, &seen, ""), NULL, NULL, NULL) != 404)
            fault("deleted but there:", m, 0);
    }
    if (m->realm == NULL)
        return;
    status = call(w, "GET", consumer_path(path, m, ""), NULL, &answer, NULL);
    group = json_string_value(json_array_get(json_object_get(answer, "consumer_groups"), 0));
    if (status != 200 || group == NULL || strcmp(group, m->group) != 0)
        fault("acknowledged but lost:", m, status);
    json_decref(answer);
    adopt_keys(w, &seen);
    if (seen.n_keys != m->n_keys)
        fault("wrong number of keys:", m, (long)seen.n_keys);
    for (size_t i = 0; i < seen.n_keys; i++) {
        if (!has_key(m, seen.keys[i]))
            fault("unknown key:", m, 0);
    }
}

/* ---- listing ---- */

static json_t *all_pages(struct worker *w, const char *first_path)
{
    json_t *rows = json_array();
    char *path = strdup(first_path);

    while (path != NULL) {
        json_t *answer = NULL;
        const char *next;

        if (call(w, "GET", path, NULL, &answer, NULL) != 200) {
            (void)fprintf(stderr, "rest_load: cannot list %s\n", path);
            exit(1);
        }
        (void)json_array_extend(rows, json_object_get(answer, "data"));
        next = json_string_value(json_object_get(json_object_get(answer, "meta"), "next"));
        free(path);
        path = next != NULL ? strdup(next) : NULL;
        json_decref(answer);
    }
    return rows;
}

static void list_realm(struct worker *w, const char *realm)
{
    char path[PATH_SIZE];
    json_t *consumers;
    size_t i;
    json_t *consumer;

    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers?page%%5Bsize%%5D=1000", realm);
    consumers = all_pages(w, path);
    json_array_foreach(consumers, i, consumer)
    {
        json_t *keys;
        json_t *line;
        char *text;

        (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers/%s/keys?page%%5Bsize%%5D=1000",
                       realm, json_string_value(json_object_get(consumer, "id")));
        keys = all_pages(w, path);
        line = json_pack("{s:s,s:o,s:o}", "realm_id", realm, "consumer", json_incref(consumer),
                         "keys", keys);
        text = json_dumps(line, JSON_COMPACT | JSON_SORT_KEYS);
        (void)puts(text);
        free(text);
        json_decref(line);
    }
    json_decref(consumers);
}

/* ---- modes ---- */

static void *fill_thread(void *context)
{
    struct worker *w = context;

    while (atomic_fetch_sub(&work_left, 1) > 0) {
        create_consumer(w);
        create_key(w, &w->members[w->n_members - 1]);
    }
    return NULL;
}

static void *churn_thread(void *context)
{
    struct worker *w = context;

    while (atomic_fetch_sub(&work_left, 1) > 0)
        change_something(w);
    for (size_t i = 0; i < w->n_members; i++)
        check_member(w, &w->members[i]);
    return NULL;
}

static void *list_thread(void *context)
{
    struct worker *w = context;

    for (size_t i = 0; i < w->options->n_realms; i++)
        list_realm(w, w->options->realms[i]);
    return NULL;
}

static int run(const struct options *options, void *(*thread)(void *), long parallel)
{
    struct worker *workers = calloc((size_t)parallel, sizeof(*workers));

    if (workers == NULL)
        return 2;
    for (long i = 0; i < parallel; i++) {
        struct worker *w = &workers[i];

        w->options = options;
        w->number = (unsigned)i;
        w->random = options->seed * 7919u + (unsigned)i;
        w->client = rest_create(options->url, options->token);
        if (pthread_create(&w->thread, NULL, thread, w) != 0)
            exit(2);
    }
    for (long i = 0; i < parallel; i++) {
        (void)pthread_join(workers[i].thread, NULL);
        rest_destroy(workers[i].client);
        free(workers[i].members);
    }
    free(workers);
    return atomic_load(&faults) == 0 ? 0 : 1;
}

static int read_token(const char *path, char *token, size_t size)
{
    FILE *file = fopen(path, "re");

    if (file == NULL || fgets(token, (int)size, file) == NULL) {
        (void)fprintf(stderr, "rest_load: cannot read %s\n", path);
        return 2;
    }
    token[strcspn(token, "\n")] = 0;
    (void)fclose(file);
    return 0;
}

static int parse_options(int argc, char **argv, struct options *options)
{
    static const struct option names[] = {
        {"url", required_argument, NULL, 'u'},      {"token-file", required_argument, NULL, 't'},
        {"realm", required_argument, NULL, 'r'},    {"consumers", required_argument, NULL, 'c'},
        {"changes", required_argument, NULL, 'n'},  {"seed", required_argument, NULL, 's'},
        {"parallel", required_argument, NULL, 'p'}, {NULL, 0, NULL, 0}};
    int c;
    int rc = 0;

    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (c == 'u')
            options->url = optarg;
        else if (c == 't')
            rc = read_token(optarg, options->token, sizeof(options->token));
        else if (c == 'r' && options->n_realms < REALMS_MAX)
            options->realms[options->n_realms++] = optarg;
        else if (c == 'c')
            options->consumers = strtol(optarg, NULL, 10);
        else if (c == 'n')
            options->changes = strtol(optarg, NULL, 10);
        else if (c == 's')
            options->seed = (unsigned)strtoul(optarg, NULL, 10);
        else if (c == 'p')
            options->parallel = strtol(optarg, NULL, 10);
        else
            rc = 2;
    }
    return options->url == NULL || options->n_realms == 0 || options->parallel < 1 ? 2 : rc;
}

int main(int argc, char **argv)
{
    struct options options = {.seed = 1, .parallel = 16};
    const char *mode;
    int rc;

    if (parse_options(argc, argv, &options) != 0 || optind + 1 != argc) {
        (void)fprintf(stderr, "rest_load: bad usage; see the head of tests/helpers/rest_load.c\n");
        return 2;
    }
    mode = argv[optind];
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    if (strcmp(mode, "fill") == 0) {
        atomic_store(&work_left, options.consumers);
        rc = run(&options, fill_thread, options.parallel);
    } else if (strcmp(mode, "churn") == 0) {
        atomic_store(&work_left, options.changes);
        rc = run(&options, churn_thread, options.parallel);
    } else if (strcmp(mode, "list") == 0) {
        rc = run(&options, list_thread, 1);
    } else {
        (void)fprintf(stderr, "rest_load: unknown mode %s\n", mode);
        rc = 2;
    }
    curl_global_cleanup();
    return rc;
}
