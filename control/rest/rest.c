/* rest.c - one request from its route to its answer; see rest.h for the order of the steps.
 *
 * Each step returns 0 or a code with call->error filled, like the routes' functions; answer_error()
 * is the one place where codes become HTTP.
 */
#include "control/rest/rest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/utf8.h"
#include "control/rest/rest_routes.h"

enum { FAILURE_LOG_INTERVAL_MS = 1000, WAIT_DEFAULT_MS = 5000, WAIT_MAX_MS = 60000 };

/* ---- answers ---- */

static void call_finish(struct rest_call *call)
{
    json_decref(call->body);
    json_decref(call->invalid);
    json_decref(call->answer);
}

static void answer_success(struct rest_call *call)
{
    struct http_request *request = call->request;
    unsigned status = call->status;
    char *text = NULL;

    if (call->answer != NULL) {
        text = utf8_json_take(json_dumps(call->answer, JSON_COMPACT));
        if (text == NULL)
            status = 0;
    }
    call_finish(call); /* before the answer: with it, the arena that holds the call goes */
    if (status == 0)
        http_answer_problem(request, 503, "The server is out of memory.", NULL);
    else
        http_answer(request, status, text != NULL ? "application/json" : NULL, text,
                    text != NULL ? strlen(text) : 0);
}

/* ---- errors ---- */

struct status_of {
    int code;
    unsigned status;
    const char *rule;   /* of the violation that names error.field, or NULL */
    const char *detail; /* NULL: the error's own message */
};

static const struct status_of statuses[] = {
    {E_INVALID, 400, NULL, NULL},
    {E_MISSING_REFERENCE, 400, "missing_reference", NULL},
    {E_NOT_EMPTY, 400, NULL, NULL},
    {E_UNAUTHORIZED, 401, NULL, NULL},
    {E_PERMISSION, 403, NULL, NULL},
    {E_NOT_FOUND, 404, NULL, "Not found"},
    {E_CONFLICT, 409, "unique", NULL},
    {E_EXISTS_ELSEWHERE, 409, NULL, NULL},
    {E_UNSUPPORTED, 415, NULL, NULL},
    {E_NO_SPACE, 507, NULL, "The control plane's disk is full."},
    {E_NO_MEMORY, 503, NULL, "The server is out of memory."},
    {E_TOO_MANY, 429, NULL, NULL},
    {E_BUSY, 503, NULL, NULL},
    {E_CANCELED, 503, NULL, "The server is stopping."},
    {E_TOO_LARGE, 503, NULL, "The answer would be too large; ask for a smaller page."},
};

static const struct status_of internal_error = {
    0, 500, NULL, "An unexpected error occurred; the log has more under this instance."};

static const struct status_of *status_of(int code)
{
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        if (statuses[i].code == code)
            return &statuses[i];
    }
    return &internal_error;
}

static void log_failure(const struct rest_call *call, int code, unsigned status)
{
    const struct log_field fields[] = {
        {"request_id", call->request->id},
        {"method", rest_method_name(call->request->method)},
        {"route", call->route != NULL ? call->route->pattern : NULL},
    };

    char text[LOG_LEFT_OUT_SIZE];
    unsigned left_out;

    /* A full disk fails every change: the metrics count them, the log says it once a second. */
    if (status < 500 || !log_pace_due(call->rest->failure_pace, FAILURE_LOG_INTERVAL_MS, &left_out))
        return;
    log_fields(call->rest->log, LOG_LEVEL_ERROR, fields, sizeof(fields) / sizeof(fields[0]),
               "request failed with %u: %s%s", status,
               call->error.message[0] != 0 ? call->error.message : error_text(code),
               log_left_out(left_out, text));
}

static void answer_error(struct rest_call *call, int code)
{
    const struct status_of *entry = status_of(code);
    struct http_request *request = call->request;
    json_t *extra = NULL;
    char detail[sizeof(call->error.message)];

    log_failure(call, code, entry->status);
    if (entry->rule != NULL && call->error.field != NULL)
        (void)rest_invalid(call, "body", call->error.field, entry->rule, "%s", call->error.message);
    if (call->invalid != NULL)
        extra = json_pack("{s:O}", "invalid_parameters", call->invalid);
    (void)snprintf(detail, sizeof(detail), "%s",
                   entry->detail != NULL ? entry->detail : call->error.message);
    if (entry->status == 401)
        (void)http_answer_header(request, "WWW-Authenticate", "Bearer");
    if (entry->status == 503)
        (void)http_answer_header(request, "Retry-After", "1");
    if (entry->status == 429)
        (void)http_answer_header(request, "Retry-After", "30");
    call_finish(call);
    http_answer_problem(request, entry->status, detail, extra);
}

/* ---- waiting until a change is applied ---- */

/* The host's name, and the instance where the name is not enough. */
static json_t *late_json(const struct feed_late *late)
{
    char instance[UUID_TEXT_SIZE];

    if (!late->name_shared || uuid_is_nil(&late->instance))
        return json_string(late->host);
    return json_sprintf("%s (instance %s)", late->host, uuid_format(&late->instance, instance));
}

static bool is_late(const struct feed_wait_result *result)
{
    return result->applied < result->total || result->late_others > 0;
}

/* Adds "late" and makes it a 202; false when out of memory. */
static bool add_late(struct rest_call *call, const struct feed_wait_result *result)
{
    json_t *names = json_array();

    for (size_t i = 0; i < result->n_late; i++)
        rest_append(&names, late_json(&result->late[i]));
    if (call->answer == NULL)
        call->answer = json_object();
    call->status = REST_ACCEPTED;
    rest_set(&call->answer, "late", names);
    if (result->late_others > 0)
        rest_set(&call->answer, "late_others", json_integer((json_int_t)result->late_others));
    return call->answer != NULL;
}

/* feed_wait's callback, and called with zeros when nobody has to be waited for. */
static void answer_applied(void *context, const struct feed_wait_result *result)
{
    struct rest_call *call = context;
    char text[64];

    (void)snprintf(text, sizeof(text), "applied=%zu total=%zu", result->applied, result->total);
    /* Without memory the header is missing, which a client must not take for "applied". */
    if (http_answer_header(call->request, "Realm-Applied", text) != 0 ||
        (is_late(result) && !add_late(call, result)))
        answer_error(call, E_NO_MEMORY);
    else
        answer_success(call);
}

static void answer_after_wait(struct rest_call *call)
{
    static const struct feed_wait_result nobody;
    const struct feed_wait_request request = {.version = call->commit.version,
                                              .timeout_ms = call->timeout_ms,
                                              .viewer = call->repo.actor,
                                              .done = answer_applied,
                                              .context = call};
    int rc;

    if (call->commit.version == 0) {
        answer_applied(call, &nobody);
        return;
    }
    rc = feed_wait(call->rest->feed, &request, &call->error);
    if (rc == 0)
        return;
    /* The change is made, so this is no error; but nobody may take it for applied. */
    log_warning(call->rest->log, "cannot wait for version %" PRIu64 " to be applied: %s",
                call->commit.version, call->error.message);
    if (add_late(call, &nobody))
        answer_success(call);
    else
        answer_error(call, E_NO_MEMORY);
}

/* ---- the steps ---- */

static int check_caller(struct rest_call *call)
{
    const struct uuid *control_plane = NULL;
    int rc;

    if (call->route->access == AUTH_PUBLIC)
        return 0;
    rc = auth_identify(call->rest->auth, call->request, &call->identity, &call->error);
    if (rc != 0)
        return rc;
    if (call->identity.has_control_plane)
        call->repo.actor = &call->identity.control_plane_id;
    if (strcmp(call->params[0].name, "cpId") == 0 && call->params[0].text != NULL &&
        uuid_parse(call->params[0].text, &call->params[0].id))
        control_plane = &call->params[0].id;
    if (!auth_allows(&call->identity, call->route->access, control_plane))
        return error_set(&call->error, E_PERMISSION, "The role %s may not do this%s.",
                         auth_role_names[call->identity.role],
                         control_plane != NULL ? " on this control plane" : "");
    return 0;
}

static void check_params(struct rest_call *call)
{
    for (size_t i = 0; i < call->n_params; i++) {
        struct rest_param *param = &call->params[i];

        if (param->text == NULL)
            (void)rest_invalid(call, "path", param->name, "is_utf8",
                               "must be percent-encoded UTF-8 without NUL");
        else if (param->is_uuid && !uuid_parse(param->text, &param->id))
            (void)rest_invalid(call, "path", param->name, "is_uuid", "must be a UUID");
    }
}

static void read_wait(struct rest_call *call)
{
    const char *wait = rest_query_get(call, "wait");

    call->timeout_ms = rest_query_integer(call, "timeout_ms", WAIT_DEFAULT_MS, 0, WAIT_MAX_MS);
    if (wait == NULL)
        return;
    call->wait = strcmp(wait, "applied") == 0;
    if (!call->wait) {
        json_t *violation = rest_invalid(call, "query", "wait", "enum", "must be 'applied'");

        (void)json_object_set_new(violation, "choices", json_pack("[s]", "applied"));
    }
}

/* Bodies are JSON whatever they say; the second type is what `curl -d` says unless told
 * otherwise. */
static int check_content_type(struct rest_call *call)
{
    static const char *const accepted[] = {"application/json", "application/x-www-form-urlencoded"};
    const char *type = http_header(call->request, "Content-Type");

    if (type == NULL)
        return 0;
    for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        size_t length = strlen(accepted[i]);

        if (strncasecmp(type, accepted[i], length) == 0 && strchr("; \t", type[length]) != NULL)
            return 0;
    }
    return error_set(&call->error, E_UNSUPPORTED, "The request body must be application/json.");
}

static int read_body(struct rest_call *call)
{
    struct json_fault fault;
    int rc = check_content_type(call);

    if (rc != 0)
        return rc;
    call->body = json_read_object(call->request->body, call->request->body_size, &fault);
    if (call->body != NULL)
        return 0;
    if (fault.rule == NULL)
        return error_set(&call->error, E_NO_MEMORY, NULL);
    (void)rest_invalid(call, "body", "", fault.rule, "%s", fault.text);
    if (fault.line == 0)
        return error_set(&call->error, E_INVALID, "The body %s.", fault.text);
    return error_set(&call->error, E_INVALID, "The body %s: line %d, column %d.", fault.text,
                     fault.line, fault.column);
}

static int serve(struct rest_call *call)
{
    /* A body may have been long on its way, and the credentials taken back meanwhile. */
    int rc = call->request->body_size > 0 ? check_caller(call) : 0;

    if (rc != 0)
        return rc;
    rc = rest_query_parse(call);
    if (rc != 0)
        return error_set(&call->error, rc, NULL);
    check_params(call);
    if ((call->route->flags & REST_CHANGE) != 0)
        read_wait(call);
    rc = rest_verdict(call);
    if (rc == 0 && (call->route->flags & REST_BODY) != 0)
        rc = read_body(call);
    return rc != 0 ? rc : call->route->run(call);
}

static void answer_no_route(struct rest_call *call, const char *allow)
{
    struct http_request *request = call->request;

    if (request->method == HTTP_OTHER) {
        http_answer_problem(request, 501, "This method is not known.", NULL);
    } else if (allow[0] == 0) {
        http_answer_problem(request, 404, "There is nothing at this path.", NULL);
    } else {
        (void)http_answer_header(request, "Allow", allow);
        http_answer_problem(request, 405, "This path does not have that method.", NULL);
    }
}

/* Strangers who are wrong too often are told to wait; a valid credential never comes here. */
static void refuse_caller(struct rest_call *call, int code)
{
    struct http_request *request = call->request;
    char seconds[16];
    unsigned wait_s = code == E_UNAUTHORIZED ? http_auth_failed(request) : 0;

    if (wait_s == 0) {
        answer_error(call, code);
        return;
    }
    (void)snprintf(seconds, sizeof(seconds), "%u", wait_s); /* fits */
    (void)http_answer_header(request, "Retry-After", seconds);
    (void)http_answer_header(request, "Connection", "close");
    call_finish(call);
    http_answer_problem(
        request, 429, "Too many requests without valid credentials came from this address.", NULL);
}

/* The budgets that the request draws upon from now on. */
static struct http_admission admission_of(const struct rest_call *call)
{
    const struct auth_identity *identity = &call->identity;
    /* A tenant is one caller, however many tokens it has. */
    const struct uuid *caller =
        identity->has_control_plane ? &identity->control_plane_id : &identity->credential;
    struct http_admission admission = {.class = HTTP_OPERATOR};
    uint64_t halves[2];

    if (call->route->access == AUTH_PUBLIC)
        return (struct http_admission){.class = HTTP_STRANGER};
    if (identity->role == REPO_ROLE_DATA_PLANE)
        admission.class = HTTP_HOST;
    memcpy(halves, caller, sizeof(halves));
    admission.caller = halves[0] ^ halves[1];
    return admission;
}

static struct rest_call *call_create(const struct rest *rest, struct http_request *request)
{
    struct rest_call *call = arena_alloc(&request->arena, sizeof(*call));

    if (call == NULL) {
        http_answer_problem(request, 503, "The server is out of memory.", NULL);
        return NULL;
    }
    *call = (struct rest_call){.rest = rest, .request = request, .arena = &request->arena};
    call->repo = (struct repo_call){
        .repo = rest->repo, .arena = call->arena, .commit = &call->commit, .err = &call->error};
    request->call = call;
    return call;
}

bool rest_admit(void *context, struct http_request *request, struct http_admission *ret)
{
    struct rest_call *call = call_create(context, request);
    char allow[REST_ALLOW_SIZE];
    int rc;

    if (call == NULL)
        return false;
    request->route = rest_route_find(call, allow);
    if (request->route < 0) {
        answer_no_route(call, allow);
        return false;
    }
    call->route = rest_route((size_t)request->route);
    rc = check_caller(call);
    if (rc != 0) {
        refuse_caller(call, rc);
        return false;
    }
    *ret = admission_of(call);
    return true;
}

void rest_handle(void *context, struct http_request *request)
{
    struct rest_call *call = request->call;
    int rc;

    (void)context; /* the call has it */
    rc = serve(call);
    if (rc == REST_ANSWERED)
        return;
    if (rc != 0)
        answer_error(call, rc);
    else if (call->wait)
        answer_after_wait(call);
    else
        answer_success(call);
}

void rest_observe(void *context, const struct http_request *request, unsigned status,
                  int64_t duration_us)
{
    const struct rest *rest = context;

    metrics_count(rest->metrics, request->route, status, duration_us);
    log_debug(rest->log, "%s %s %u %" PRId64 " us", rest_method_name(request->method),
              request->path, status, duration_us);
}
