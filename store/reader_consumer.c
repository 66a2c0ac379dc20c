/* reader_consumer.c - the members of an answer, and the text form of a source. */
#include "store/reader_internal.h"

#include <string.h>

static const struct consumer_view *view_of(const rs_consumer *consumer)
{
    return (const struct consumer_view *)consumer;
}

/* Text of an id, made when first asked for. */
static const char *id_text(const struct uuid *id, char text[UUID_TEXT_SIZE])
{
    return text[0] != 0 ? text : uuid_format(id, text);
}

static bool found(const rs_consumer *consumer)
{
    return view_of(consumer)->consumer.record != NULL;
}

static bool in_realm(const rs_consumer *consumer)
{
    return view_of(consumer)->realm.number != MODEL_SCOPE_CP;
}

const char *rs_consumer_id(rs_consumer *consumer)
{
    struct consumer_view *view = (struct consumer_view *)consumer;

    return found(consumer) ? id_text(&view->consumer.id, view->id) : NULL;
}

const char *rs_consumer_username(const rs_consumer *consumer)
{
    return view_of(consumer)->consumer.username;
}

const char *rs_consumer_custom_id(const rs_consumer *consumer)
{
    return view_of(consumer)->consumer.custom_id;
}

const char *rs_consumer_credential_id(rs_consumer *consumer)
{
    struct consumer_view *view = (struct consumer_view *)consumer;

    return found(consumer) && !uuid_is_nil(&view->key_id)
               ? id_text(&view->key_id, view->credential_id)
               : NULL;
}

size_t rs_consumer_tag_count(const rs_consumer *consumer)
{
    return view_of(consumer)->consumer.tags.count;
}

const char *rs_consumer_tag(const rs_consumer *consumer, size_t i)
{
    return record_strings_get(&view_of(consumer)->consumer.tags, i);
}

size_t rs_consumer_group_count(const rs_consumer *consumer)
{
    const struct consumer_view *view = view_of(consumer);

    return view->realm.groups.count + (size_t)__builtin_popcountll(view->own_groups);
}

const char *rs_consumer_group(const rs_consumer *consumer, size_t i)
{
    const struct consumer_view *view = view_of(consumer);
    uint64_t own = view->own_groups;

    if (i < view->realm.groups.count)
        return record_strings_get(&view->realm.groups, i);
    for (i -= view->realm.groups.count; own != 0 && i > 0; i--)
        own &= own - 1; /* drops the lowest bit */
    if (own == 0)
        return NULL;
    return record_strings_get(&view->consumer.groups, (size_t)__builtin_ctzll(own));
}

rs_scope rs_consumer_scope(const rs_consumer *consumer)
{
    return in_realm(consumer) ? RS_SCOPE_REALM : RS_SCOPE_CP;
}

const char *rs_consumer_realm_id(rs_consumer *consumer)
{
    struct consumer_view *view = (struct consumer_view *)consumer;

    return in_realm(consumer) ? id_text(&view->realm.id, view->realm_id) : NULL;
}

const char *rs_consumer_realm_name(const rs_consumer *consumer)
{
    return view_of(consumer)->realm.name;
}

int64_t rs_consumer_age_ms(const rs_consumer *consumer)
{
    return view_of(consumer)->age_ms;
}

/* ---- sources as text ---- */

/* Takes "PREFIX" or "PREFIX:rest"; NULL when the text begins otherwise, else the rest ("" for
 * none). */
static const char *after_prefix(const char *text, const char *prefix)
{
    size_t length = strlen(prefix);

    if (strncmp(text, prefix, length) != 0)
        return NULL;
    if (text[length] == 0)
        return text + length;
    return text[length] == ':' ? text + length + 1 : NULL;
}

static int set_region(rs_source *source, const char *region, size_t length)
{
    if (length >= sizeof(source->region))
        return RS_E_INVALID;
    memcpy(source->region, region, length);
    return layout_region_valid(source->region) ? 0 : RS_E_INVALID;
}

static int parse_realm(const char *text, rs_source *source)
{
    const char *colon = strchr(text, ':');
    struct uuid id;

    source->scope = RS_SCOPE_REALM;
    if (colon != NULL && set_region(source, text, (size_t)(colon - text)) != 0)
        return RS_E_INVALID;
    if (!uuid_parse(colon != NULL ? colon + 1 : text, &id))
        return RS_E_INVALID;
    memcpy(source->realm_id, id.bytes, UUID_BYTES);
    return 0;
}

static int parse_cp(const char *text, const char *region, rs_source *source)
{
    source->scope = RS_SCOPE_CP;
    if (strcmp(text, "cp") == 0)
        return 0;
    return set_region(source, region, strlen(region));
}

int rs_source_parse(const char *text, rs_source *ret)
{
    rs_source source = {.region = ""};
    const char *rest;
    int rc = RS_E_INVALID;

    if (text == NULL || ret == NULL)
        return RS_E_INVALID;
    if ((rest = after_prefix(text, "cp")) != NULL)
        rc = parse_cp(text, rest, &source);
    else if ((rest = after_prefix(text, "realm")) != NULL)
        rc = parse_realm(rest, &source);
    if (rc == 0)
        *ret = source;
    return rc;
}
