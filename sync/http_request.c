/* curl's side of one HTTP request: its options, its callbacks, and what its end means.
 *
 * A refusal's body (application/problem+json) is kept up to PROBLEM_MAX_BYTES, so that the log can
 * say what the control plane objected to; the rest of it is thrown away.
 */
#include "sync/http_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <jansson.h>

#include "sync/url.h"

/* A dead peer behind a live network path shows after idle + 3 probes; the session's own timer is
 * faster, this is for the kernel to let go of the socket. */
enum { KEEPALIVE_IDLE_S = 30, KEEPALIVE_INTERVAL_S = 10, PROBLEM_MAX_BYTES = 4096 };

enum { HTTP_STATUS_PARTIAL = 206 };

#define USER_AGENT "realm-agent/" REALMSTORE_VERSION

/* The border to curl: its code as one of ours. */
static int from_curl(CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_OUT_OF_MEMORY:
        return E_NO_MEMORY;
    case CURLE_OPERATION_TIMEDOUT:
        return E_TIMEOUT;
    case CURLE_UNSUPPORTED_PROTOCOL: /* of the answer; the URL's was checked */
        return E_PROTOCOL;
    case CURLE_URL_MALFORMAT:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_UNKNOWN_OPTION:
        return E_INVALID;
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return E_CONFIG;
    default:
        return E_NETWORK;
    }
}

static bool is_success(long status)
{
    return status >= 200 && status < 300;
}

static int from_status(long status)
{
    if (is_success(status))
        return 0;
    if (status == 401 || status == 403)
        return E_UNAUTHORIZED;
    if (status == 404)
        return E_NOT_FOUND;
    if (status == 409)
        return E_CONFLICT;
    if (status == 429 || status >= 500)
        return E_NETWORK;
    return E_PROTOCOL;
}

static long status_of(const struct http_request *request)
{
    long status = 0;

    (void)curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

/* ---- curl calls ---- */

static size_t on_body(char *bytes, size_t one, size_t size, void *context)
{
    struct http_request *request = context;
    size_t room = PROBLEM_MAX_BYTES - request->problem.size;
    enum http_take take;

    (void)one;
    if (request->stage == REQUEST_DEAD)
        return 0; /* fewer bytes than given: curl ends the transfer */
    if (!is_success(status_of(request))) {
        /* The start of the body is enough, and none of it when memory is short. */
        (void)buffer_append(&request->problem, bytes, size < room ? size : room);
        return size;
    }
    take = request->handler.data(request->handler.context, bytes, size);
    if (request->stage == REQUEST_DEAD)
        return 0;
    return take == HTTP_PAUSE ? CURL_WRITEFUNC_PAUSE : size;
}

/* ---- options ---- */

/* "name: " and both parts of the value. libcurl wipes what it frees (http_client_create). */
static int http_request_add_header(struct http_request *request, const char *name,
                                   const char *first, const char *second)
{
    struct curl_slist *longer;
    struct buffer line;
    int rc;

    buffer_init_secret(&line, 16 * 1024); /* what servers accept as one header */
    rc = buffer_printf(&line, "%s: %s%s", name, first, second);
    if (rc == 0)
        rc = buffer_terminate(&line);
    if (rc == 0) {
        longer = curl_slist_append(request->headers, (const char *)line.data);
        rc = longer != NULL ? 0 : E_NO_MEMORY;
        if (rc == 0)
            request->headers = longer;
    }
    buffer_finish(&line);
    return rc;
}

static int add_range(struct http_request *request, const struct http_request_options *options)
{
    char range[40]; /* a number of 20 digits */
    int rc;

    (void)snprintf(range, sizeof(range), "bytes=%" PRIu64 "-", options->range_from);
    rc = http_request_add_header(request, "Range", range, "");
    return rc == 0 ? http_request_add_header(request, "If-Range", options->if_range, "") : rc;
}

static int add_headers(struct http_request *request, const struct http_request_options *options)
{
    int rc = 0;

    if (options->credentials->token != NULL)
        rc = http_request_add_header(request, "Authorization", "Bearer ",
                                     options->credentials->token);
    if (rc == 0 && options->json_body != NULL)
        rc = http_request_add_header(request, "Content-Type", "application/json", "");
    if (rc == 0 && options->if_range != NULL)
        rc = add_range(request, options);
    return rc;
}

/* Sets one option, remembering the first failure. */
#define SET(option, value)                                                                         \
    do {                                                                                           \
        if (code == CURLE_OK)                                                                      \
            code = curl_easy_setopt(easy, (option), (value));                                      \
    } while (0)

static CURLcode set_credentials(CURL *easy, const struct http_credentials *credentials)
{
    CURLcode code = CURLE_OK;

    if (credentials->client_cert_file != NULL)
        SET(CURLOPT_SSLCERT, credentials->client_cert_file);
    if (credentials->client_key_file != NULL)
        SET(CURLOPT_SSLKEY, credentials->client_key_file);
    /* What the control plane speaks, and the strength that it asks of certificates itself, whatever
     * the host's own configuration of OpenSSL allows (level 2: 112 bits, RSA from 2048 on, no
     * SHA-1). */
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_CIPHER_LIST, "ECDHE+AESGCM:ECDHE+CHACHA20:@SECLEVEL=2");
    SET(CURLOPT_KEYPASSWD, ""); /* else a key with a passphrase asks for it on the terminal */
    if (credentials->ca_file != NULL)
        SET(CURLOPT_CAINFO, credentials->ca_file);
    return code;
}

static CURLcode set_transport(CURL *easy, const struct http_request_options *options)
{
    CURLcode code = CURLE_OK;

    SET(CURLOPT_URL, options->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_USERAGENT, USER_AGENT);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)options->connect_timeout_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)options->total_timeout_ms);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_IDLE_S);
    SET(CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_INTERVAL_S);
    SET(CURLOPT_NOSIGNAL, 1L);
    /* A resolver that hangs must not hold up a stop: its thread is left behind, not waited for. */
    SET(CURLOPT_QUICK_EXIT, 1L);
    if (url_is_loopback(options->url))
        SET(CURLOPT_PROXY, "");
    return code;
}

static CURLcode set_options(struct http_request *request,
                            const struct http_request_options *options)
{
    CURL *easy = request->easy;
    CURLcode code = set_transport(easy, options);

    if (code == CURLE_OK)
        code = set_credentials(easy, options->credentials);
    if (options->json_body != NULL)
        SET(CURLOPT_COPYPOSTFIELDS, options->json_body);
    SET(CURLOPT_HTTPHEADER, request->headers);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, request);
    SET(CURLOPT_ERRORBUFFER, request->curl_message);
    SET(CURLOPT_PRIVATE, request);
    return code;
}

int http_request_create(const struct http_request_options *options,
                        const struct http_handler *handler, struct http_request **ret,
                        struct error *err)
{
    struct http_request *request = calloc(1, sizeof(*request));
    int rc = E_NO_MEMORY;

    if (request == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    request->handler = *handler;
    buffer_init(&request->problem, PROBLEM_MAX_BYTES);
    request->easy = curl_easy_init();
    if (request->easy != NULL)
        rc = add_headers(request, options);
    if (rc == 0)
        rc = from_curl(set_options(request, options));
    if (rc != 0) {
        http_request_destroy(request);
        return error_set(err, rc, "cannot set the request up: %s", error_text(rc));
    }
    *ret = request;
    return 0;
}

void http_request_destroy(struct http_request *request)
{
    if (request == NULL)
        return;
    curl_easy_cleanup(request->easy);
    curl_slist_free_all(request->headers);
    buffer_finish(&request->problem);
    free(request);
}

/* ---- the answer ---- */

uint64_t http_request_offset(const struct http_request *request)
{
    struct curl_header *header;
    uint64_t offset;

    if (status_of(request) != HTTP_STATUS_PARTIAL)
        return 0;
    if (curl_easy_header(request->easy, "Content-Range", 0, CURLH_HEADER, -1, &header) !=
            CURLHE_OK ||
        sscanf(header->value, "bytes %" SCNu64 "-", &offset) != 1)
        return UINT64_MAX;
    return offset;
}

/* The "detail" of a problem document, or its "title", or "" for another kind of body. */
static void problem_text(const struct buffer *body, char *text, size_t size)
{
    json_t *problem = json_loadb((const char *)body->data, body->size, 0, NULL);
    const char *detail = json_string_value(json_object_get(problem, "detail"));

    if (detail == NULL)
        detail = json_string_value(json_object_get(problem, "title"));
    (void)snprintf(text, size, "%s%s", detail != NULL ? ": " : "", detail != NULL ? detail : "");
    json_decref(problem);
}

static void describe_status(const struct http_request *request, struct http_result *ret)
{
    int rc = from_status(ret->status);
    char detail[256];

    if (rc == 0 || ret->status == 0) /* accepted, or no answer: curl's code says why */
        return;
    if (ret->status >= 300 && ret->status < 400) {
        (void)error_set(&ret->err, rc,
                        "answered with a redirect (%ld), which is refused because a token must not "
                        "follow it; put the final address into urls",
                        ret->status);
        return;
    }
    problem_text(&request->problem, detail, sizeof(detail));
    (void)error_set(&ret->err, rc, "answered %ld%s", ret->status, detail);
}

void http_request_result(struct http_request *request, CURLcode code, struct http_result *ret)
{
    curl_off_t retry_after_s = 0;

    *ret = (struct http_result){.status = status_of(request)};
    if (curl_easy_getinfo(request->easy, CURLINFO_RETRY_AFTER, &retry_after_s) == CURLE_OK &&
        retry_after_s > 0 && retry_after_s < INT32_MAX)
        ret->retry_after_ms = (int64_t)retry_after_s * 1000;
    describe_status(request, ret);
    if (ret->err.code == 0 && code != CURLE_OK)
        (void)error_set(&ret->err, from_curl(code), "%s",
                        request->curl_message[0] != 0 ? request->curl_message
                                                      : curl_easy_strerror(code));
}
