/* url.c - see url.h. */
#include "sync/url.h"

#include <string.h>
#include <arpa/inet.h>
#include <curl/curl.h>

/* The border to curl's URL parser. */
static int from_curlu(CURLUcode code, const char *url, struct error *err)
{
    switch (code) {
    case CURLUE_OK:
        return 0;
    case CURLUE_OUT_OF_MEMORY:
        return error_set(err, E_NO_MEMORY, NULL);
    default:
        return error_set(err, E_CONFIG, "\"%s\" is not a URL: %s", url, curl_url_strerror(code));
    }
}

static bool has_part(CURLU *parsed, CURLUPart part)
{
    char *text = NULL;
    bool found = curl_url_get(parsed, part, &text, 0) == CURLUE_OK;

    curl_free(text);
    return found;
}

static bool host_is_loopback(const char *host)
{
    struct in_addr v4;

    if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
        return true;
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

static bool parsed_is_loopback(CURLU *parsed)
{
    char *host = NULL;
    bool loopback = false;

    if (curl_url_get(parsed, CURLUPART_HOST, &host, 0) == CURLUE_OK)
        loopback = host_is_loopback(host);
    curl_free(host);
    return loopback;
}

static int check_parts(CURLU *parsed, const char *scheme, bool allow_plain_http, struct error *err)
{
    if (has_part(parsed, CURLUPART_USER) || has_part(parsed, CURLUPART_PASSWORD))
        return error_set(err, E_CONFIG,
                         "a control plane's URL holds no user or password; use "
                         "token_file or client_cert_file");
    if (has_part(parsed, CURLUPART_QUERY) || has_part(parsed, CURLUPART_FRAGMENT))
        return error_set(err, E_CONFIG, "a control plane's URL ends with its host, port or path");
    if (strcmp(scheme, "https") == 0)
        return 0;
    if (strcmp(scheme, "http") != 0)
        return error_set(err, E_CONFIG, "the URL's scheme is \"%s\", not https", scheme);
    if (!allow_plain_http && !parsed_is_loopback(parsed))
        return error_set(err, E_CONFIG,
                         "plain http is for loopback addresses only (the token would "
                         "cross the network unprotected); use https, or set "
                         "allow_plain_http: true at this source");
    return 0;
}

int url_check(const char *url, bool allow_plain_http, struct error *err)
{
    char *scheme = NULL;
    CURLU *parsed = curl_url();
    int rc;

    if (parsed == NULL)
        return error_set(err, E_NO_MEMORY, NULL);
    rc = from_curlu(curl_url_set(parsed, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME), url, err);
    if (rc == 0)
        rc = from_curlu(curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0), url, err);
    if (rc == 0)
        rc = check_parts(parsed, scheme, allow_plain_http, err);
    curl_free(scheme);
    curl_url_cleanup(parsed);
    return rc;
}

bool url_is_loopback(const char *url)
{
    CURLU *parsed = curl_url();
    bool loopback = false;

    if (parsed != NULL && curl_url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK)
        loopback = parsed_is_loopback(parsed);
    curl_url_cleanup(parsed);
    return loopback;
}

int url_append_base(struct buffer *out, const char *base, const char *path)
{
    size_t size = strlen(base);
    int rc;

    while (size > 0 && base[size - 1] == '/')
        size--;
    rc = buffer_append(out, base, size);
    return rc != 0 ? rc : buffer_append_string(out, path);
}

static bool is_unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr("-._~", c) != NULL);
}

int url_append_query(struct buffer *out, char separator, const char *name, const char *value)
{
    int rc = buffer_printf(out, "%c%s=", separator, name);

    for (; *value != 0 && rc == 0; value++) {
        unsigned char c = (unsigned char)*value;

        rc = is_unreserved(c) ? buffer_append(out, value, 1) : buffer_printf(out, "%%%02X", c);
    }
    return rc;
}
