/* url.h - the base URL of a control plane: what is accepted, and how queries are appended.
 *
 * A base URL is http:// or https://, a host, an optional port and an optional path prefix; no user,
 * query or fragment. Tokens travel over it, so plain http is for loopback hosts unless the operator
 * says so.
 */
#ifndef RS_SYNC_URL_H
#define RS_SYNC_URL_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/error.h"

/* 0, or E_CONFIG with a message that says what is wrong with it, or E_NO_MEMORY. */
int url_check(const char *url, bool allow_plain_http, struct error *err);

/* True for localhost, 127.0.0.0/8 and ::1; false also for what is not a URL. */
bool url_is_loopback(const char *url);

/* Appends the base URL without its trailing slashes and then `path`. Buffer errors. */
int url_append_base(struct buffer *out, const char *base, const char *path);

/* Appends "<separator>name=value", the value percent-encoded. Buffer errors. */
int url_append_query(struct buffer *out, char separator, const char *name, const char *value);

#endif
