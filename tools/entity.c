/* entity.c - see entity.h.
 *
 * Every record is checked in full before it is shown: the bytes may have rotted, and JSON wants
 * UTF-8.
 */
#include "tools/entity.h"

#include <string.h>

#include "base/clock.h"
#include "store/bytes.h"
#include "tools/tool.h"

const char *entity_type_text(enum model_consumer_type type)
{
    static const char *const texts[MODEL_CONSUMER_TYPES] = {"proxy", "developer", "admin",
                                                            "application"};

    return texts[type];
}

static json_t *strings_json(const struct record_strings *list)
{
    json_t *array = json_array();

    for (size_t i = 0; i < list->count; i++)
        (void)json_array_append_new(array, json_string(record_strings_get(list, i)));
    return array; /* jansson passes NULLs through: one check at the end of json_pack() is enough */
}

static json_t *id_json(const struct uuid *id)
{
    char text[UUID_TEXT_SIZE];

    return json_string(uuid_format(id, text));
}

json_t *entity_realm_json(const struct tool_source *source, const struct record_realm *realm)
{
    return json_pack(
        "{ss, ss, sI, so, ss, ss, sI, sI, so}", "kind", "realm", "region", source->region, "number",
        (json_int_t)realm->number, "id", id_json(&realm->id), "name", realm->name, "realm_region",
        realm->region, "ttl", (json_int_t)realm->ttl_min, "negative_ttl",
        (json_int_t)realm->negative_ttl_min, "consumer_groups", strings_json(&realm->groups));
}

/* ---- the walk ---- */

static int entity_damaged(const char *what, struct error *err)
{
    return error_set(err, E_CORRUPT, "a %s's record is damaged; `realmctl verify` tells which",
                     what);
}

static bool at_consumer(const struct table_walk *rows)
{
    return rows->key.mv_size == LAYOUT_CONSUMER_KEY_BYTES;
}

/* Takes the consumer whose row is the next one. */
static int entity_read_consumer(struct consumer_walk *walk, struct error *err)
{
    const struct tables tables = source_view_tables(walk->rows.source);
    struct consumer_place place;
    struct uuid id;
    int rc = 0;

    while (rc == 0 && !walk->rows.at_end && !at_consumer(&walk->rows))
        rc = walk_next(&walk->rows, err);
    walk->at_end = walk->rows.at_end;
    if (rc != 0 || walk->at_end)
        return rc;
    memcpy(walk->name, walk->rows.key.mv_data, sizeof(walk->name));
    walk->scope = layout_key_scope(walk->name);
    memcpy(id.bytes, walk->name + sizeof(walk->scope), UUID_BYTES);
    rc = consumers_find(&tables, walk->scope, &id, &place, err);
    if (rc == E_CORRUPT ||
        (rc == 0 &&
         (!record_check(RECORD_CONSUMER, place.record.mv_data, place.record.mv_size) ||
          !record_view_consumer(place.record.mv_data, place.record.mv_size, &walk->consumer))))
        return entity_damaged("consumer", err);
    return rc != 0 ? rc : walk_next(&walk->rows, err);
}

int consumer_walk_begin(struct consumer_walk *walk, const struct tool_source *source,
                        uint32_t from_scope, struct error *err)
{
    unsigned char prefix[sizeof(uint32_t)];
    MDB_val from;
    int rc;

    bytes_put_u32_be(prefix, from_scope);
    from = env_val(prefix, sizeof(prefix));
    rc = walk_begin(&walk->rows, source, TABLE_CONSUMERS, &from, err);
    return rc == 0 ? entity_read_consumer(walk, err) : rc;
}

int consumer_walk_next(struct consumer_walk *walk, struct error *err)
{
    return entity_read_consumer(walk, err);
}

static int entity_read_key(const struct table_walk *keys, struct record_key *ret, struct error *err)
{
    const struct tables tables = source_view_tables(keys->source);
    const unsigned char *bytes = keys->value.mv_data;
    struct entry entry;
    int rc = consumers_read_row(&tables, keys->key, keys->value, ret, &entry, err);

    if (rc == E_CORRUPT || rc == E_NOT_FOUND ||
        (rc == 0 && ret->tags.count > 0 &&
         !record_check(RECORD_KEY, bytes + LAYOUT_HASH_BYTES,
                       keys->value.mv_size - LAYOUT_HASH_BYTES)))
        return entity_damaged("key", err);
    return rc;
}

/* The consumer's next key, if the walk is on one. */
static int next_key(struct consumer_walk *walk, struct record_key *ret, bool *ret_found,
                    struct error *err)
{
    struct table_walk *rows = &walk->rows;
    int rc;

    *ret_found = !rows->at_end && !at_consumer(rows);
    if (!*ret_found)
        return 0;
    if (rows->key.mv_size != LAYOUT_KEY_KEY_BYTES ||
        memcmp(rows->key.mv_data, walk->name, sizeof(walk->name)) != 0)
        return entity_damaged("key", err);
    rc = entity_read_key(rows, ret, err);
    return rc != 0 ? rc : walk_next(rows, err);
}

int entity_count_keys(struct consumer_walk *walk, size_t *ret, struct error *err)
{
    struct record_key key;
    size_t count = 0;
    bool found;
    int rc = next_key(walk, &key, &found, err);

    for (; rc == 0 && found; count++)
        rc = next_key(walk, &key, &found, err);
    *ret = count;
    return rc;
}

static json_t *entity_key_json(const struct record_key *key)
{
    char text[CLOCK_ISO_SIZE];
    const char *expires =
        key->expires_at_ms != 0 ? clock_format_iso(key->expires_at_ms, text) : NULL;

    return json_pack("{so, so, so}", "id", id_json(&key->id), "expires_at",
                     tool_json_string(expires), "tags", strings_json(&key->tags));
}

static int keys_json(struct consumer_walk *walk, json_t **ret, struct error *err)
{
    json_t *array = json_array();
    struct record_key key;
    bool found;
    int rc = next_key(walk, &key, &found, err);

    while (rc == 0 && found) {
        if (json_array_append_new(array, entity_key_json(&key)) != 0)
            rc = error_set(err, E_NO_MEMORY, NULL);
        else
            rc = next_key(walk, &key, &found, err);
    }
    if (rc != 0) {
        json_decref(array);
        return rc;
    }
    *ret = array;
    return 0;
}

int entity_consumer_json(struct consumer_walk *walk, json_t **ret, struct error *err)
{
    const struct record_consumer *consumer = &walk->consumer;
    const struct tool_source *source = walk->rows.source;
    char scope[SCOPE_TEXT_SIZE];
    json_t *keys = NULL;
    int rc = keys_json(walk, &keys, err);

    if (rc != 0)
        return rc;
    *ret = json_pack("{ss, ss, ss, so, ss, so, so, so, so, so}", "kind", "consumer", "region",
                     source->region, "scope", source_view_scope(source, walk->scope, scope), "id",
                     id_json(&consumer->id), "type", entity_type_text(consumer->type), "username",
                     tool_json_string(consumer->username), "custom_id",
                     tool_json_string(consumer->custom_id), "tags", strings_json(&consumer->tags),
                     "consumer_groups", strings_json(&consumer->groups), "keys", keys);
    return *ret != NULL ? 0 : error_set(err, E_NO_MEMORY, NULL);
}
