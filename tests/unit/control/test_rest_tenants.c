/* Every route by every caller, on realms of every kind: generated from the table of routes, so that
 * a route without a row in the policy below fails. Then what another tenant would try.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "control/rest/rest_base64.h"
#include "control/rest/rest_routes.h"
#include "tests/lib/control_fixture.h"
#include "tests/lib/feed_client.h"

#define PLANE_A "497f6eca-6276-4993-bfeb-53cbbbba6f08"
#define PLANE_B "6c1f1d3e-0000-4000-8000-00000000000b"
#define ABSENT  "01a20cc7-0000-7000-8000-000000000000"
#define HASH    "0000000000000000000000000000000000000000000000000000000000000000"

enum { PATH_BYTES = 512, BODY_BYTES = 512 };

enum caller { NOBODY, STRANGER, ORG, ADMIN, BOUND_A, BOUND_B, VIEWER, HOST_A, HOST_B, CALLERS };
static const char *const caller_names[CALLERS] = {
    "nobody",        "a bad token", "org-admin",   "an unbound admin", "an admin of A",
    "an admin of B", "viewer",      "a host of A", "a host of B"};

/* Who may use the realm; of routes of a control plane: whose it is. */
enum kind { ONLY_A, ONLY_B, BOTH, ALL, NONE, MISSING, KINDS };
static const char *const kind_names[KINDS] = {"only-a", "only-b", "both", "all", "none", "missing"};

/* What a row of the policy says; `ok` is the status of success. */
enum rule {
    EVERYONE,
    ORGANISATION, /* its administrator alone */
    STAFF,        /* whoever is no host */
    REALM_SEE,
    REALM_CHANGE,
    REALM_MAKE, /* with the subject as what it shall be */
    REALM_ASK,  /* authentication on demand */
    PLANE_SEE,
    PLANE_CHANGE,
    HOST_OWN,  /* hosts, whatever plane they are of */
    HOST_PLANE /* hosts, of the plane that they name */
};

/* Not a status: whatever comes after the caller was let in. */
enum { LET_IN = 0 };

struct policy {
    const char *route;
    enum rule rule;
    long ok;
    const char *body; /* %T: the target realm, %P: the plane, %E: the epoch, %L: the list, %N: a new
                         name */
};

#define REALM    "/v1/realms/{realmId}"
#define CONSUMER REALM "/consumers/{consumerId}"
#define CORE     "/v2/control-planes/{cpId}/core-entities"

static const struct policy policies[] = {
    {"GET /v1/realms", STAFF, 200, NULL},
    {"POST /v1/realms", REALM_MAKE, 201, "{\"name\":\"%N\",%L}"},
    {"GET " REALM, REALM_SEE, 200, NULL},
    {"PATCH " REALM, REALM_CHANGE, 200, "{\"ttl\":11}"},
    {"DELETE " REALM, REALM_CHANGE, 204, NULL},
    {"POST " REALM "/auth", REALM_ASK, 200, "{\"secret\":\"k\"}"},
    {"GET " REALM "/consumers", REALM_SEE, 200, NULL},
    {"POST " REALM "/consumers", REALM_CHANGE, 201, "{\"username\":\"%N\"}"},
    {"GET " CONSUMER, REALM_SEE, 200, NULL},
    {"PATCH " CONSUMER, REALM_CHANGE, 200, "{\"type\":\"admin\"}"},
    {"DELETE " CONSUMER, REALM_CHANGE, 204, NULL},
    {"POST " CONSUMER "/move", REALM_CHANGE, 201, "{\"target_realm_id\":\"%T\"}"},
    {"GET " CONSUMER "/keys", REALM_SEE, 200, NULL},
    {"POST " CONSUMER "/keys", REALM_CHANGE, 201, "{\"type\":\"new\"}"},
    {"GET " CONSUMER "/keys/{keyId}", REALM_SEE, 200, NULL},
    {"DELETE " CONSUMER "/keys/{keyId}", REALM_CHANGE, 204, NULL},

    {"GET " CORE "/consumers", PLANE_SEE, 200, NULL},
    {"POST " CORE "/consumers", PLANE_CHANGE, 201, "{\"username\":\"%N\"}"},
    {"GET " CORE "/consumers/{id*}", PLANE_SEE, 200, NULL},
    {"PATCH " CORE "/consumers/{id*}", PLANE_CHANGE, 200, "{\"tags\":[\"x\"]}"},
    {"PUT " CORE "/consumers/{id*}", PLANE_CHANGE, 200, "{\"username\":\"%N\"}"},
    {"DELETE " CORE "/consumers/{id*}", PLANE_CHANGE, 204, NULL},
    {"GET " CORE "/consumers/{id*}/key-auth", PLANE_SEE, 200, NULL},
    {"POST " CORE "/consumers/{id*}/key-auth", PLANE_CHANGE, 201, "{}"},
    {"GET " CORE "/consumers/{id*}/key-auth/{keyId}", PLANE_SEE, 200, NULL},
    {"DELETE " CORE "/consumers/{id*}/key-auth/{keyId}", PLANE_CHANGE, 204, NULL},
    {"GET " CORE "/consumer_groups", PLANE_SEE, 200, NULL},
    {"POST " CORE "/consumer_groups", PLANE_CHANGE, 201, "{\"name\":\"%N\"}"},
    {"GET " CORE "/consumer_groups/{id*}", PLANE_SEE, 200, NULL},
    {"PATCH " CORE "/consumer_groups/{id*}", PLANE_CHANGE, 200, "{\"tags\":[\"x\"]}"},
    {"PUT " CORE "/consumer_groups/{id*}", PLANE_CHANGE, 200, "{\"name\":\"%N\"}"},
    {"DELETE " CORE "/consumer_groups/{id*}", PLANE_CHANGE, 204, NULL},

    {"GET /v1/tokens", ORGANISATION, 200, NULL},
    {"POST /v1/tokens", ORGANISATION, 201, "{\"name\":\"t\",\"role\":\"viewer\"}"},
    {"DELETE /v1/tokens/{id}", ORGANISATION, 204, NULL},
    {"GET /v1/hosts", STAFF, 200, NULL},
    {"GET /v1/epoch", STAFF, 200, NULL},
    {"POST /v1/epoch/accept", ORGANISATION, 200, "{\"epoch\":\"%E\"}"},

    {"GET /v1/sync/feed", HOST_PLANE, LET_IN, NULL},
    {"GET /v1/sync/snapshots/{hash*}", HOST_OWN, LET_IN, NULL},
    {"POST /v1/sync/ack", HOST_PLANE, LET_IN,
     "{\"control_plane_id\":\"%P\",\"host\":\"h\",\"epoch\":\"%E\",\"version\":0}"},
    {"POST /v1/sync/auth", HOST_PLANE, LET_IN, "{\"control_plane_id\":\"%P\",\"secret\":\"k\"}"},

    {"GET /healthz", EVERYONE, 200, NULL},
    {"GET /readyz", EVERYONE, 200, NULL},
    {"GET /metrics", EVERYONE, 200, NULL},
};
enum { POLICIES = sizeof(policies) / sizeof(policies[0]) };

/* ---- the policy's arithmetic ---- */

static bool is_host(enum caller caller)
{
    return caller == HOST_A || caller == HOST_B;
}

/* The kind of realm that only the caller's control plane may use; KINDS: it is bound to none. */
static enum kind own_kind(enum caller caller)
{
    if (caller == BOUND_A || caller == HOST_A)
        return ONLY_A;
    return caller == BOUND_B || caller == HOST_B ? ONLY_B : KINDS;
}

static bool sees(enum caller caller, enum kind kind)
{
    if (kind == MISSING)
        return false;
    return own_kind(caller) == KINDS || kind == own_kind(caller) || kind == BOTH || kind == ALL;
}

static bool is_alone(enum caller caller, enum kind kind)
{
    return own_kind(caller) == KINDS || own_kind(caller) == kind;
}

static long expected(const struct policy *policy, enum caller caller, enum kind kind)
{
    const long ok = policy->ok;

    if (policy->rule == EVERYONE)
        return ok;
    if (caller == NOBODY || caller == STRANGER)
        return 401;
    if ((caller == VIEWER && policy->rule != STAFF && policy->rule != REALM_SEE &&
         policy->rule != PLANE_SEE) ||
        (policy->rule >= HOST_OWN) != is_host(caller)) {
        if (!(policy->rule == REALM_ASK && is_host(caller)))
            return 403;
    }
    switch (policy->rule) {
    case REALM_SEE:
    case REALM_ASK:
        return sees(caller, kind) ? ok : 404;
    case REALM_CHANGE:
        if (!sees(caller, kind))
            return 404;
        return is_alone(caller, kind) ? ok : 403;
    case REALM_MAKE:
    case PLANE_SEE:
    case PLANE_CHANGE:
    case HOST_PLANE:
        return is_alone(caller, kind) ? ok : 403;
    case ORGANISATION:
        return caller == ORG ? ok : 403;
    case STAFF:
    case HOST_OWN:
    case EVERYONE:
        break;
    }
    return ok;
}

/* Which subjects the rule tells apart. */
static int subjects(enum rule rule)
{
    switch (rule) {
    case REALM_SEE:
    case REALM_CHANGE:
    case REALM_ASK:
        return KINDS;
    case REALM_MAKE:
        return MISSING;
    case PLANE_SEE:
    case PLANE_CHANGE:
    case HOST_PLANE:
        return ONLY_B + 1;
    default:
        return 1;
    }
}

/* ---- the world ---- */

struct world {
    struct fixture *fixture;
    struct arena arena;
    unsigned serial; /* of names */
    char tokens[CALLERS][AUTH_SECRET_SIZE];
    char epoch[UUID_TEXT_SIZE];
};
static struct world world;

/* What one cell of the matrix asks about. */
struct subject {
    char realm[UUID_TEXT_SIZE];
    char consumer[UUID_TEXT_SIZE];
    char key[UUID_TEXT_SIZE];
    char target[UUID_TEXT_SIZE]; /* another realm of the kind */
    char group[UUID_TEXT_SIZE];
    char token[UUID_TEXT_SIZE];
    const char *plane;
    enum kind kind;
};

static struct error err;
#define CALL (&(struct repo_call){.repo = world.fixture->repo, .arena = &world.arena, .err = &err})

static void must(int rc)
{
    if (rc != 0)
        fail_msg("%d: %s", rc, err.message);
}

static const char *new_name(const char *stem)
{
    char text[64];

    (void)snprintf(text, sizeof(text), "%s-%u", stem, world.serial++);
    return arena_string(&world.arena, text);
}

static struct uuid realm_of(enum kind kind)
{
    static const char *const a[] = {PLANE_A};
    static const char *const b[] = {PLANE_B};
    static const char *const both[] = {PLANE_A, PLANE_B};
    struct repo_realm input = {
        .model = {.name = new_name(kind_names[kind]), .ttl_min = 10, .negative_ttl_min = 10},
        .allow_all_control_planes = kind == ALL};
    struct repo_realm realm;

    if (kind == ONLY_A)
        input.allowed_control_planes = (struct model_strings){a, 1};
    if (kind == ONLY_B)
        input.allowed_control_planes = (struct model_strings){b, 1};
    if (kind == BOTH)
        input.allowed_control_planes = (struct model_strings){both, 2};
    must(repo_realm_create(CALL, &input, &realm));
    return realm.model.id;
}

/* A consumer with a key; in a realm, where nothing else is, its secret is "k". */
static void fill(const struct repo_scope *scope, struct subject *ret)
{
    const struct repo_consumer input = {.model = {.username = new_name("user")}};
    const char *secret = scope->kind == REPO_SCOPE_REALM ? "k" : new_name("secret");
    const struct repo_key_input key_input = {
        .key = {.type = REPO_KEY_LEGACY}, .secret = secret, .secret_size = strlen(secret)};
    struct repo_path path = {.scope = *scope};
    struct repo_consumer consumer;
    struct repo_key key;

    must(repo_consumer_create(CALL, scope, &input, &consumer));
    path.consumer_id = consumer.model.id;
    must(repo_key_create(CALL, &path, &key_input, &key));
    (void)uuid_format(&consumer.model.id, ret->consumer);
    (void)uuid_format(&key.model.id, ret->key);
}

static struct subject realm_subject(enum kind kind)
{
    struct subject subject = {.kind = kind, .plane = PLANE_A};
    struct uuid target;
    struct repo_scope scope = {.kind = REPO_SCOPE_REALM};

    if (kind == MISSING) {
        static const struct subject missing = {ABSENT, ABSENT, ABSENT,  ABSENT,
                                               ABSENT, ABSENT, PLANE_A, MISSING};

        return missing;
    }
    scope.id = realm_of(kind);
    target = realm_of(kind);
    (void)uuid_format(&scope.id, subject.realm);
    (void)uuid_format(&target, subject.target);
    fill(&scope, &subject);
    return subject;
}

static struct subject plane_subject(enum kind kind)
{
    struct subject subject = {.kind = kind, .plane = kind == ONLY_B ? PLANE_B : PLANE_A};
    const struct repo_group group_input = {.name = new_name("group")};
    const struct repo_token token_input = {.name = "t", .role = REPO_ROLE_VIEWER};
    struct repo_scope scope = {.kind = REPO_SCOPE_CP};
    struct repo_group group;
    struct repo_token token;
    uint8_t hash[DIGEST_BYTES];

    assert_true(uuid_parse(subject.plane, &scope.id));
    fill(&scope, &subject);
    must(repo_group_create(CALL, &scope.id, &group_input, &group));
    digest_sha256(group_input.name, strlen(group_input.name), hash);
    must(repo_token_create(CALL, &token_input, hash, &token));
    (void)uuid_format(&group.id, subject.group);
    (void)uuid_format(&token.id, subject.token);
    return subject;
}

static void make_token(enum caller caller, const char *role, const char *plane)
{
    (void)snprintf(world.tokens[caller], AUTH_SECRET_SIZE, "%s",
                   fixture_make_token(world.fixture, role, plane));
}

static int set_up(void **state)
{
    struct repo_head head;

    (void)state;
    world = (struct world){.fixture = fixture_start(NULL)};
    arena_init(&world.arena, (size_t)256 << 20);
    (void)snprintf(world.tokens[STRANGER], AUTH_SECRET_SIZE, "rst_a-token-that-nobody-made");
    (void)snprintf(world.tokens[ORG], AUTH_SECRET_SIZE, FIXTURE_ADMIN);
    make_token(ADMIN, "control-plane-admin", NULL);
    make_token(BOUND_A, "control-plane-admin", PLANE_A);
    make_token(BOUND_B, "control-plane-admin", PLANE_B);
    make_token(VIEWER, "viewer", NULL);
    make_token(HOST_A, "data-plane", PLANE_A);
    make_token(HOST_B, "data-plane", PLANE_B);
    must(repo_head(world.fixture->repo, &head, &err));
    (void)uuid_format(&head.epoch, world.epoch);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    fixture_stop(world.fixture);
    arena_finish(&world.arena);
    return 0;
}

static uint64_t version(void)
{
    struct repo_head head;

    must(repo_head(world.fixture->repo, &head, &err));
    return head.version;
}

static struct reply *ask(enum caller caller, const char *method, const char *path, const char *body)
{
    return fixture_request(world.fixture, caller == NOBODY ? NULL : world.tokens[caller], method,
                           path, NULL, body, body != NULL ? strlen(body) : 0);
}

/* ---- one cell ---- */

static void append(char *out, size_t size, const char *text, size_t length)
{
    const size_t used = strlen(out);

    assert_true(used + length < size);
    memcpy(out + used, text, length);
    out[used + length] = '\0';
}

static const char *value_of(const char *name, size_t length, bool of_groups,
                            const struct subject *subject)
{
    const struct {
        const char *name;
        const char *value;
    } values[] = {
        {"realmId", subject->realm},
        {"consumerId", subject->consumer},
        {"keyId", subject->key},
        {"cpId", subject->plane},
        {"hash*", HASH},
        {"id*", of_groups ? subject->group : subject->consumer},
        {"id", subject->token},
    };

    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (strlen(values[i].name) == length && memcmp(values[i].name, name, length) == 0)
            return values[i].value;
    }
    fail_msg("%.*s: no value for this parameter", (int)length, name);
    return NULL;
}

static void make_path(const char *pattern, const struct subject *subject, char path[PATH_BYTES])
{
    const bool of_groups = strstr(pattern, "consumer_groups") != NULL;

    path[0] = '\0';
    while (*pattern != '\0') {
        size_t length = strcspn(pattern, "{");
        const char *value;

        append(path, PATH_BYTES, pattern, length);
        pattern += length;
        if (*pattern == '\0')
            break;
        length = strcspn(++pattern, "}");
        value = value_of(pattern, length, of_groups, subject);
        append(path, PATH_BYTES, value, strlen(value));
        pattern += length + 1;
    }
}

static const char *list_of(enum kind kind)
{
    static const char *const lists[] = {
        [ONLY_A] = "\"allowed_control_planes\":[\"" PLANE_A "\"]",
        [ONLY_B] = "\"allowed_control_planes\":[\"" PLANE_B "\"]",
        [BOTH] = "\"allowed_control_planes\":[\"" PLANE_A "\",\"" PLANE_B "\"]",
        [ALL] = "\"allow_all_control_planes\":true",
        [NONE] = "\"allowed_control_planes\":[]",
    };

    return lists[kind];
}

static const char *word_of(char letter, const struct subject *subject)
{
    switch (letter) {
    case 'T':
        return subject->target;
    case 'P':
        return subject->plane;
    case 'E':
        return world.epoch;
    case 'L':
        return list_of(subject->kind);
    default:
        assert_int_equal(letter, 'N');
        return new_name("name");
    }
}

static void make_body(const char *text, const struct subject *subject, char body[BODY_BYTES])
{
    body[0] = '\0';
    while (*text != '\0') {
        const size_t length = strcspn(text, "%");
        const char *word = text[length] == '%' ? word_of(text[length + 1], subject) : "";

        append(body, BODY_BYTES, text, length);
        append(body, BODY_BYTES, word, strlen(word));
        text += text[length] == '%' ? length + 2 : length;
    }
}

/* A bound caller hears nothing of the other control plane, whatever it asks. */
static void check_silence(const char *route, enum caller caller, const struct reply *reply)
{
    const char *other = own_kind(caller) == ONLY_A ? PLANE_B : PLANE_A;

    if (own_kind(caller) == KINDS || reply->body == NULL)
        return;
    if (strstr(reply->body, other) != NULL)
        fail_msg("%s as %s tells of the other control plane: %s", route, caller_names[caller],
                 reply->body);
}

static struct subject make_subject(const struct policy *policy, enum kind kind)
{
    switch (policy->rule) {
    case REALM_SEE:
    case REALM_CHANGE:
    case REALM_ASK:
        return realm_subject(kind);
    case REALM_MAKE:
        return (struct subject){.kind = kind, .plane = PLANE_A};
    default:
        return plane_subject(kind);
    }
}

/* A feed that is let in would never end: its host's own plane asks with half a cursor (400). */
static const char *query_for(const struct policy *policy, enum caller caller,
                             const struct subject *subject)
{
    if (strcmp(policy->route, "GET /v1/sync/feed") != 0)
        return "";
    if (is_host(caller) && is_alone(caller, subject->kind))
        return "?host=h&version=1";
    return subject->kind == ONLY_A ? "?host=h&control_plane_id=" PLANE_A
                                   : "?host=h&control_plane_id=" PLANE_B;
}

static void check_answer(const char *method, const char *path, const char *body,
                         const struct policy *policy, enum caller caller, enum kind kind)
{
    const long status = expected(policy, caller, kind);
    const uint64_t before = version();
    struct reply *reply = ask(caller, method, path, body);

    if (status == LET_IN ? reply->status == 401 || reply->status == 403 : reply->status != status)
        fail_msg("%s %s on %s as %s: %ld, not %ld (%s)", method, policy->route, kind_names[kind],
                 caller_names[caller], reply->status, status, reply->body);
    if (status >= 400 && version() != before)
        fail_msg("%s on %s as %s is refused and changes something", policy->route, kind_names[kind],
                 caller_names[caller]);
    check_silence(policy->route, caller, reply);
    reply_free(reply);
}

static void check_cell(const struct rest_route *route, const struct policy *policy,
                       enum caller caller, enum kind kind)
{
    const struct subject subject = make_subject(policy, kind);
    const char *query = query_for(policy, caller, &subject);
    const char *method = rest_method_name(route->method);
    char body[BODY_BYTES];
    char path[PATH_BYTES];

    make_path(route->pattern, &subject, path);
    append(path, PATH_BYTES, query, strlen(query));
    if (policy->body != NULL)
        make_body(policy->body, &subject, body);
    /* What is there is no matter of whose it is: `force` deletes what it may. */
    if (strcmp(policy->route, "DELETE " REALM) == 0)
        append(path, PATH_BYTES, "?force=true", strlen("?force=true"));
    check_answer(method, path, policy->body != NULL ? body : NULL, policy, caller, kind);
    if (route->method == HTTP_GET && (route->flags & REST_NO_HEAD) == 0)
        check_answer("HEAD", path, NULL, policy, caller, kind);
}

static const struct policy *find_policy(const struct rest_route *route)
{
    char text[PATH_BYTES];

    (void)snprintf(text, sizeof(text), "%s %s", rest_method_name(route->method), route->pattern);
    for (size_t i = 0; i < POLICIES; i++) {
        if (strcmp(policies[i].route, text) == 0)
            return &policies[i];
    }
    fail_msg("%s has no row in the policy: who may do it?", text);
    return NULL;
}

static void every_route_does_what_the_policy_says_for_every_caller(void **state)
{
    (void)state;
    for (size_t i = 0; i < rest_route_count(); i++) {
        const struct rest_route *route = rest_route(i);
        const struct policy *policy = find_policy(route);

        for (int kind = 0; kind < subjects(policy->rule); kind++) {
            for (int caller = 0; caller < CALLERS; caller++)
                check_cell(route, policy, (enum caller)caller, (enum kind)kind);
        }
    }
}

static void every_row_of_the_policy_is_a_route(void **state)
{
    (void)state;
    assert_int_equal(rest_route_count(), POLICIES);
}

/* ---- as another tenant ---- */

/* The names of all realms on all pages of this size. */
static void assert_pages(const char *start, const char *link, int rows)
{
    char path[PATH_BYTES];
    int seen = 0;

    (void)snprintf(path, sizeof(path), "%s", start);
    while (path[0] != '\0') {
        struct reply *reply = ask(BOUND_A, "GET", path, NULL);
        json_t *meta = json_object_get(reply->json, "meta");
        json_t *data = json_object_get(reply->json, "data");
        const char *next = json_string_value(json_object_get(meta, link));
        json_t *realm;
        size_t i;

        assert_int_equal(reply->status, 200);
        json_array_foreach(data, i, realm)
        {
            const char *name = json_string_value(json_object_get(realm, "name"));

            assert_true(strncmp(name, "only-b", 6) != 0 && strncmp(name, "none", 4) != 0);
            seen++;
        }
        /* A link leads to rows that the caller sees: never to an empty page. */
        assert_true(path == start || json_array_size(data) > 0 || seen == 0);
        check_silence("GET /v1/realms", BOUND_A, reply);
        (void)snprintf(path, sizeof(path), "%s", next != NULL ? next : "");
        reply_free(reply);
    }
    assert_int_equal(seen, rows);
}

static const char *cursor_of(const struct uuid *id)
{
    char text[32];

    base64url_encode(id->bytes, UUID_BYTES, text);
    return arena_string(&world.arena, text);
}

static void pages_hold_and_count_what_the_caller_sees(void **state)
{
    static const enum kind order[] = {ONLY_B, ONLY_A, ONLY_B, ONLY_B, BOTH, NONE,
                                      ONLY_B, ALL,    ONLY_A, ONLY_B, NONE};
    enum { ROWS = sizeof(order) / sizeof(order[0]), SEEN = 4 };
    static const struct uuid nil;
    struct uuid ids[ROWS];
    struct uuid last;
    char path[PATH_BYTES];

    (void)state;
    for (size_t i = 0; i < ROWS; i++)
        ids[i] = realm_of(order[i]);
    memset(last.bytes, 0xff, UUID_BYTES);
    for (int size = 1; size <= 5; size++) {
        (void)snprintf(path, sizeof(path), "/v1/realms?page[size]=%d", size);
        assert_pages(path, "next", SEEN);
        (void)snprintf(path, sizeof(path), "/v1/realms?page[size]=%d&page[before]=%s", size,
                       cursor_of(&last));
        assert_pages(path, "previous", SEEN);
        (void)snprintf(path, sizeof(path), "/v1/realms?page[size]=%d&page[after]=%s", size,
                       cursor_of(&nil));
        assert_pages(path, "next", SEEN);
        /* Cursors on rows of others are places between rows. */
        (void)snprintf(path, sizeof(path), "/v1/realms?page[size]=%d&page[after]=%s", size,
                       cursor_of(&ids[2]));
        assert_pages(path, "next", SEEN - 1);
        (void)snprintf(path, sizeof(path), "/v1/realms?page[size]=%d&page[before]=%s", size,
                       cursor_of(&ids[6]));
        assert_pages(path, "previous", 2);
    }
}

/* Of a page beyond which only others' rows are, no link tells that there are any. */
static void links_do_not_tell_of_rows_of_others(void **state)
{
    struct reply *reply;
    json_t *meta;

    (void)state;
    (void)realm_of(ONLY_B);
    (void)realm_of(ONLY_A);
    (void)realm_of(ONLY_B);
    reply = ask(BOUND_A, "GET", "/v1/realms?page[size]=1", NULL);
    meta = json_object_get(reply->json, "meta");
    assert_int_equal(json_array_size(json_object_get(reply->json, "data")), 1);
    assert_true(json_is_null(json_object_get(meta, "next")));
    assert_true(json_is_null(json_object_get(meta, "previous")));
    reply_free(reply);
}

static void other_control_planes_of_a_shared_realm_are_a_number(void **state)
{
    const struct subject subject = realm_subject(BOTH);
    char path[PATH_BYTES];
    struct reply *reply;
    json_t *allowed;

    (void)state;
    (void)snprintf(path, sizeof(path), "/v1/realms/%s", subject.realm);
    reply = ask(BOUND_A, "GET", path, NULL);
    allowed = json_object_get(reply->json, "allowed_control_planes");
    assert_int_equal(json_array_size(allowed), 1);
    assert_string_equal(json_string_value(json_array_get(allowed, 0)), PLANE_A);
    assert_int_equal(json_integer_value(json_object_get(reply->json, "other_control_planes")), 1);
    reply_free(reply);
    reply = ask(VIEWER, "GET", path, NULL);
    assert_int_equal(json_array_size(json_object_get(reply->json, "allowed_control_planes")), 2);
    assert_null(json_object_get(reply->json, "other_control_planes"));
    reply_free(reply);
}

static void assert_patch(enum caller caller, const struct subject *subject, const char *body,
                         long status)
{
    char path[PATH_BYTES];
    struct reply *reply;

    (void)snprintf(path, sizeof(path), "/v1/realms/%s", subject->realm);
    reply = ask(caller, "PATCH", path, body);
    if (reply->status != status)
        fail_msg("%s: %ld, not %ld (%s)", body, reply->status, status, reply->body);
    reply_free(reply);
}

static void bound_caller_neither_shares_a_realm_nor_locks_itself_out(void **state)
{
    const struct subject own = realm_subject(ONLY_A);
    const struct subject shared = realm_subject(BOTH);

    (void)state;
    assert_patch(BOUND_A, &own, "{\"allowed_control_planes\":[\"" PLANE_A "\"]}", 200);
    assert_patch(BOUND_A, &own, "{\"allowed_control_planes\":[\"" PLANE_A "\",\"" PLANE_B "\"]}",
                 403);
    assert_patch(BOUND_A, &own, "{\"allowed_control_planes\":[\"" PLANE_B "\"]}", 403);
    assert_patch(BOUND_A, &own, "{\"allowed_control_planes\":[\"*\"]}", 403);
    assert_patch(BOUND_A, &own, "{\"allowed_control_planes\":[]}", 403);
    assert_patch(BOUND_A, &own, "{\"allowed_control_planes\":null}", 403);
    assert_patch(BOUND_A, &own, "{\"allow_all_control_planes\":true}", 403);
    /* Nor takes it the others off, or itself. */
    assert_patch(BOUND_A, &shared, "{\"allowed_control_planes\":[\"" PLANE_A "\"]}", 403);
    assert_patch(BOUND_A, &shared, "{\"allowed_control_planes\":[\"" PLANE_B "\"]}", 403);
    assert_patch(BOUND_A, &shared, "{}", 403);
    assert_patch(ADMIN, &shared, "{\"allowed_control_planes\":[\"" PLANE_A "\"]}", 200);
    assert_patch(BOUND_A, &shared, "{\"ttl\":20}", 200);
    assert_patch(BOUND_B, &shared, "{\"ttl\":20}", 404);
}

/* Names are unique in the organisation, so that a name is taken is told; whose it is, is not. */
static void conflict_tells_no_owner(void **state)
{
    struct reply *reply;

    (void)state;
    json_decref(fixture_call(world.fixture, 201, "POST", "/v1/realms",
                             "{\"name\":\"b's\",\"allowed_control_planes\":[\"" PLANE_B "\"]}"));
    reply = ask(BOUND_A, "POST", "/v1/realms",
                "{\"name\":\"b's\",\"allowed_control_planes\":[\"" PLANE_A "\"]}");
    assert_int_equal(reply->status, 409);
    assert_non_null(strstr(reply->body, "taken in the organisation"));
    assert_null(strstr(reply->body, "taken by"));
    reply_free(reply);
    reply = ask(ADMIN, "POST", "/v1/realms", "{\"name\":\"b's\"}");
    assert_int_equal(reply->status, 409);
    assert_non_null(strstr(reply->body, "taken by"));
    reply_free(reply);
}

/* Without what differs in every answer. */
static char *without_instance(struct reply *reply)
{
    json_t *copy = json_copy(reply->json);
    char *text;

    (void)json_object_del(copy, "instance");
    text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(copy);
    reply_free(reply);
    return text;
}

static char *move_answer(const struct subject *source, const char *target, long status)
{
    char path[PATH_BYTES];
    char body[BODY_BYTES];
    struct reply *reply;

    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers/%s/move", source->realm,
                   source->consumer);
    (void)snprintf(body, sizeof(body), "{\"target_realm_id\":\"%s\"}", target);
    reply = ask(BOUND_A, "POST", path, body);
    if (reply->status != status)
        fail_msg("%s to %s: %ld, not %ld (%s)", path, target, reply->status, status, reply->body);
    return without_instance(reply);
}

/* Of the two realms' answers the source's counts first. */
static long move_status(enum kind from, enum kind to)
{
    if (!sees(BOUND_A, from))
        return 404;
    if (from != ONLY_A)
        return 403;
    if (!sees(BOUND_A, to))
        return 400;
    return to == ONLY_A ? 201 : 403;
}

static void move_needs_the_right_on_both_realms(void **state)
{
    (void)state;
    for (int from = 0; from < KINDS; from++) {
        for (int to = 0; to < KINDS; to++) {
            const struct subject source = realm_subject((enum kind)from);
            const struct subject target = realm_subject((enum kind)to);

            free(move_answer(&source, target.target, /* it is empty */
                             move_status((enum kind)from, (enum kind)to)));
        }
    }
}

/* The answer is the same for a realm of another tenant and for none at all, conflict or not. */
static void move_target_does_not_tell_what_exists(void **state)
{
    const struct subject source = realm_subject(ONLY_A);
    const struct subject hidden = realm_subject(ONLY_B); /* has the secret "k" too */
    char *of_hidden = move_answer(&source, hidden.realm, 400);
    char *of_missing = move_answer(&source, ABSENT, 400);

    (void)state;
    assert_string_equal(of_hidden, of_missing);
    free(of_hidden);
    free(of_missing);
}

static void answers_for_hidden_and_missing_realms_are_the_same(void **state)
{
    const struct subject hidden = realm_subject(ONLY_B);
    const struct subject missing = realm_subject(MISSING);

    (void)state;
    for (size_t i = 0; i < rest_route_count(); i++) {
        const struct rest_route *route = rest_route(i);
        const struct policy *policy = find_policy(route);
        char *answers[2];

        if (policy->rule != REALM_SEE && policy->rule != REALM_CHANGE && policy->rule != REALM_ASK)
            continue;
        for (int j = 0; j < 2; j++) {
            const struct subject *subject = j == 0 ? &hidden : &missing;
            char body[BODY_BYTES];
            char path[PATH_BYTES];

            make_path(route->pattern, subject, path);
            if (policy->body != NULL)
                make_body(policy->body, subject, body);
            answers[j] = without_instance(ask(BOUND_A, rest_method_name(route->method), path,
                                              policy->body != NULL ? body : NULL));
        }
        assert_string_equal(answers[0], answers[1]);
        free(answers[0]);
        free(answers[1]);
    }
}

/* ---- hosts ---- */

/* One of each control plane; neither ever acknowledges anything. */
struct hosts {
    struct feed_client a;
    struct feed_client b;
};

static void connect_one(struct feed_client *client, const char *plane, const char *name)
{
    struct repo_head head;
    struct uuid id;

    *client = (struct feed_client){.follower = NULL};
    assert_true(uuid_parse(plane, &id));
    must(repo_head(world.fixture->repo, &head, &err));
    feed_client_connect(client, world.fixture->feed, &id, name, &head.epoch, head.version);
}

static void connect_hosts(struct hosts *hosts)
{
    connect_one(&hosts->a, PLANE_A, "edge-a");
    connect_one(&hosts->b, PLANE_B, "edge-b");
}

static void disconnect_hosts(struct hosts *hosts)
{
    feed_client_disconnect(&hosts->a);
    feed_client_disconnect(&hosts->b);
}

static void hosts_are_listed_for_their_own_control_plane(void **state)
{
    struct hosts hosts;
    struct reply *reply;

    (void)state;
    connect_hosts(&hosts);
    reply = ask(BOUND_A, "GET", "/v1/hosts", NULL);
    assert_int_equal(reply->status, 200);
    assert_non_null(strstr(reply->body, "edge-a"));
    assert_null(strstr(reply->body, "edge-b"));
    check_silence("GET /v1/hosts", BOUND_A, reply);
    reply_free(reply);
    reply = ask(VIEWER, "GET", "/v1/hosts", NULL);
    assert_non_null(strstr(reply->body, "edge-b"));
    reply_free(reply);
    disconnect_hosts(&hosts);
}

static struct reply *change_and_wait(enum caller caller, const struct subject *subject)
{
    char path[PATH_BYTES];
    char body[BODY_BYTES];

    (void)snprintf(path, sizeof(path), "/v1/realms/%s/consumers?wait=applied&timeout_ms=20",
                   subject->realm);
    (void)snprintf(body, sizeof(body), "{\"username\":\"%s\"}", new_name("late"));
    return ask(caller, "POST", path, body);
}

static void wait_names_and_counts_hosts_of_the_callers_control_plane(void **state)
{
    const struct subject own = realm_subject(ONLY_A);
    const struct subject shared = realm_subject(BOTH);
    struct hosts hosts;
    struct reply *reply;

    (void)state;
    connect_hosts(&hosts);
    reply = change_and_wait(BOUND_A, &own);
    assert_int_equal(reply->status, 202);
    assert_non_null(strstr(reply->headers, "applied=0 total=1"));
    assert_int_equal(json_array_size(json_object_get(reply->json, "late")), 1);
    assert_null(strstr(reply->body, "edge-b"));
    reply_free(reply);
    reply = change_and_wait(ADMIN, &shared);
    assert_int_equal(reply->status, 202);
    assert_non_null(strstr(reply->headers, "applied=0 total=2"));
    assert_int_equal(json_array_size(json_object_get(reply->json, "late")), 2);
    assert_null(json_object_get(reply->json, "late_others"));
    reply_free(reply);
    reply = change_and_wait(BOUND_A, &shared);
    assert_int_equal(reply->status, 403);
    assert_null(strstr(reply->headers, "Realm-Applied"));
    reply_free(reply);
    disconnect_hosts(&hosts);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_row_of_the_policy_is_a_route),
        TEST(every_route_does_what_the_policy_says_for_every_caller),
        TEST(pages_hold_and_count_what_the_caller_sees),
        TEST(links_do_not_tell_of_rows_of_others),
        TEST(other_control_planes_of_a_shared_realm_are_a_number),
        TEST(bound_caller_neither_shares_a_realm_nor_locks_itself_out),
        TEST(conflict_tells_no_owner),
        TEST(move_needs_the_right_on_both_realms),
        TEST(move_target_does_not_tell_what_exists),
        TEST(answers_for_hidden_and_missing_realms_are_the_same),
        TEST(hosts_are_listed_for_their_own_control_plane),
        TEST(wait_names_and_counts_hosts_of_the_callers_control_plane),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
