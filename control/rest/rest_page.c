/* rest_page.c - pages: where one begins, and the way to its neighbours.
 *
 * A cursor is the identifier of the row next to the page, in base64url: rows are ordered by
 * identifier, which is order of creation, so pages stay right while rows come and go. It is opaque
 * to clients, who follow the links.
 */
#include <string.h>

#include "control/rest/rest_base64.h"
#include "control/rest/rest_call.h"

enum { PAGE_DEFAULT = 10, PAGE_MAX = 1000, OFFSET_DEFAULT = 100, CURSOR_SIZE = 23 };
_Static_assert(CURSOR_SIZE == BASE64URL_LENGTH(UUID_BYTES) + 1, "a cursor is one UUID");

static bool read_cursor(struct rest_call *call, const char *name, struct uuid *ret)
{
    const char *text = rest_query_get(call, name);

    if (text == NULL)
        return false;
    if (base64url_decode(text, ret->bytes, UUID_BYTES))
        return true;
    (void)rest_invalid(call, "query", name, "is_cursor", "is not a cursor that this server gave");
    return false;
}

static bool is_one_of(const char *name, const char *const *names)
{
    for (; names != NULL && *names != NULL; names++) {
        if (strcmp(name, *names) == 0)
            return true;
    }
    return false;
}

/* A misspelt filter must not silently answer with everything. */
static void refuse_unknown(struct rest_call *call, const char *const *filters)
{
    static const char *const pages[] = {"page[size]", "page[after]", "page[before]", NULL};

    for (size_t i = 0; i < call->n_query; i++) {
        const char *name = call->query[i].name;

        if ((strncmp(name, "page", 4) == 0 && (name[4] == '[' || name[4] == 0) &&
             !is_one_of(name, pages)) ||
            (strncmp(name, "filter", 6) == 0 && (name[6] == '[' || name[6] == 0) &&
             !is_one_of(name, filters)))
            (void)rest_invalid(call, "query", name, "unknown_property", "is not known here");
    }
}

void rest_page_read(struct rest_call *call, const char *const *filters, struct repo_page *ret)
{
    *ret = (struct repo_page){0};
    refuse_unknown(call, filters);
    ret->size = (size_t)rest_query_integer(call, "page[size]", PAGE_DEFAULT, 1, PAGE_MAX);
    ret->has_after = read_cursor(call, "page[after]", &ret->after);
    ret->has_before = read_cursor(call, "page[before]", &ret->before);
    if (ret->has_after && ret->has_before)
        (void)rest_invalid(call, "query", "page[before]", "dependent_fields",
                           "must not be given together with page[after]");
}

void rest_offset_read(struct rest_call *call, struct repo_page *ret)
{
    *ret = (struct repo_page){0};
    ret->size = (size_t)rest_query_integer(call, "size", OFFSET_DEFAULT, 1, PAGE_MAX);
    ret->has_after = read_cursor(call, "offset", &ret->after);
}

/* Appends "name=value", percent-encoded. */
static int append_parameter(struct buffer *out, const char *name, const char *value)
{
    const char *parts[] = {name, value};
    int rc = buffer_append_string(
        out, out->size > 0 && memchr(out->data, '?', out->size) != NULL ? "&" : "?");

    for (size_t i = 0; i < 2 && rc == 0; i++) {
        for (const char *p = parts[i]; *p != 0 && rc == 0; p++) {
            bool plain = (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') ||
                         (*p >= 'A' && *p <= 'Z') || strchr("-_.~", *p) != NULL;

            rc = plain ? buffer_append(out, p, 1) : buffer_printf(out, "%%%02X", (unsigned char)*p);
        }
        if (i == 0 && rc == 0)
            rc = buffer_append_string(out, "=");
    }
    return rc;
}

/* The request's path with its filters, this size, and `cursor_name` at `row`. A JSON null when
 * there is no row; NULL when out of memory. */
static json_t *page_link(struct rest_call *call, const char *size_name, size_t size,
                         const char *cursor_name, const struct uuid *row)
{
    char cursor[CURSOR_SIZE];
    char size_text[24];
    struct buffer out;
    json_t *link = NULL;
    int rc;

    if (row == NULL)
        return json_null();
    base64url_encode(row->bytes, UUID_BYTES, cursor);
    (void)snprintf(size_text, sizeof(size_text), "%zu", size); /* always fits */
    buffer_init(&out, (size_t)64 * 1024);
    rc = buffer_append_string(&out, call->request->path);
    for (size_t i = 0; i < call->n_query && rc == 0; i++) {
        if (strncmp(call->query[i].name, "filter[", 7) == 0)
            rc = append_parameter(&out, call->query[i].name, call->query[i].value);
    }
    if (rc == 0)
        rc = append_parameter(&out, size_name, size_text);
    if (rc == 0)
        rc = append_parameter(&out, cursor_name, cursor);
    if (rc == 0)
        link = json_stringn((const char *)out.data, out.size);
    buffer_finish(&out);
    return link;
}

int rest_page_reply(struct rest_call *call, const struct repo_page *page,
                    const struct repo_page_info *info, json_t *data, const struct uuid *first,
                    const struct uuid *last)
{
    json_t *next =
        page_link(call, "page[size]", page->size, "page[after]", info->more_after ? last : NULL);
    json_t *previous =
        page_link(call, "page[size]", page->size, "page[before]", info->more_before ? first : NULL);

    return rest_reply(call, REST_OK,
                      json_pack("{s:o, s:{s:I, s:o, s:o}}", "data", data, "meta", "size",
                                (json_int_t)page->size, "next", next, "previous", previous));
}

int rest_offset_reply(struct rest_call *call, const struct repo_page *page,
                      const struct repo_page_info *info, json_t *data, const struct uuid *last)
{
    const struct uuid *row = info->more_after ? last : NULL;
    char cursor[CURSOR_SIZE];
    json_t *answer = json_pack("{s:o, s:o}", "data", data, "next",
                               page_link(call, "size", page->size, "offset", row));

    if (answer != NULL && row != NULL) {
        base64url_encode(row->bytes, UUID_BYTES, cursor);
        if (json_object_set_new(answer, "offset", json_string(cursor)) != 0) {
            json_decref(answer);
            answer = NULL;
        }
    }
    return rest_reply(call, REST_OK, answer);
}
