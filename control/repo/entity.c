/* entity.c - see entity.h. */
#include "control/repo/entity.h"

#include <string.h>

#include "control/repo/errors.h"
#include "store/record.h"

static bool borrow_strings(const struct record_strings *list, const char *items[MODEL_LABELS_MAX],
                           struct model_strings *ret)
{
    if (list->count > MODEL_LABELS_MAX)
        return false;
    for (uint32_t i = 0; i < list->count; i++) {
        items[i] = record_strings_get(list, i);
        if (items[i] == NULL)
            return false;
    }
    *ret = (struct model_strings){.items = items, .count = list->count};
    return true;
}

int repo_realm_borrow(const struct repo_record *record, struct repo_labels *labels,
                      struct model_realm *ret, struct error *err)
{
    struct record_realm view;

    if (!record_view_realm(record->bytes, record->size, &view) || view.name == NULL ||
        view.region == NULL || !borrow_strings(&view.groups, labels->groups, &ret->groups))
        return repo_corrupt("a realm's record is wrong", err);
    ret->id = view.id;
    ret->number = view.number;
    ret->ttl_min = view.ttl_min;
    ret->negative_ttl_min = view.negative_ttl_min;
    ret->name = view.name;
    ret->region = view.region;
    return 0;
}

int repo_consumer_borrow(const struct repo_record *record, struct repo_labels *labels,
                         struct model_consumer *ret, struct error *err)
{
    struct record_consumer view;

    if (!record_view_consumer(record->bytes, record->size, &view) ||
        !borrow_strings(&view.tags, labels->tags, &ret->tags) ||
        !borrow_strings(&view.groups, labels->groups, &ret->groups))
        return repo_corrupt("a consumer's record is wrong", err);
    ret->id = view.id;
    ret->type = view.type;
    ret->username = view.username;
    ret->custom_id = view.custom_id;
    return 0;
}

int repo_key_borrow(const struct repo_record *record, struct repo_labels *labels,
                    struct model_key *ret, struct error *err)
{
    struct record_key view;

    if (!record_view_key(record->bytes, record->size, &view) ||
        !borrow_strings(&view.tags, labels->tags, &ret->tags))
        return repo_corrupt("a key's record is wrong", err);
    ret->id = view.id;
    ret->consumer_id = view.consumer_id;
    memcpy(ret->digest, view.digest, DIGEST_BYTES);
    ret->expires_at_ms = view.expires_at_ms;
    return 0;
}

bool repo_same_record(const struct repo_record *a, const struct repo_record *b)
{
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* ---- copies ---- */

int repo_strings_export(const struct model_strings *strings, struct arena *arena,
                        struct model_strings *ret, struct error *err)
{
    const char **items = arena_array(arena, strings->count, sizeof(*items));

    if (items == NULL)
        return repo_no_memory(err);
    for (size_t i = 0; i < strings->count; i++) {
        items[i] = arena_string(arena, strings->items[i]);
        if (items[i] == NULL)
            return repo_no_memory(err);
    }
    *ret = (struct model_strings){.items = items, .count = strings->count};
    return 0;
}

static int export_string(const char **string, struct arena *arena, struct error *err)
{
    if (*string == NULL)
        return 0;
    *string = arena_string(arena, *string);
    return *string != NULL ? 0 : repo_no_memory(err);
}

static int export_allowed(const struct repo_visibility *visibility, struct arena *arena,
                          struct model_strings *ret, struct error *err)
{
    char *copy = arena_copy(arena, visibility->allowed, visibility->allowed_size);
    const char **items = arena_array(arena, visibility->allowed_count, sizeof(*items));
    size_t at = 0;

    if (copy == NULL || items == NULL)
        return repo_no_memory(err);
    for (uint32_t i = 0; i < visibility->allowed_count; i++) {
        if (at >= visibility->allowed_size)
            return repo_corrupt("a realm's allowed control planes are cut short", err);
        items[i] = copy + at;
        at += strlen(copy + at) + 1;
    }
    *ret = (struct model_strings){.items = items, .count = visibility->allowed_count};
    return 0;
}

int repo_realm_export(const struct repo_realm_row *row, struct arena *arena, struct repo_realm *ret,
                      struct error *err)
{
    struct repo_labels labels;
    struct repo_realm realm = {.created_ms = row->created_ms, .updated_ms = row->updated_ms};
    int rc = repo_realm_borrow(&row->record, &labels, &realm.model, err);

    if (rc == 0)
        rc = export_string(&realm.model.name, arena, err);
    if (rc == 0)
        rc = export_string(&realm.model.region, arena, err);
    if (rc == 0)
        rc = repo_strings_export(&realm.model.groups, arena, &realm.model.groups, err);
    if (rc == 0)
        rc = export_allowed(&row->visibility, arena, &realm.allowed_control_planes, err);
    if (rc != 0)
        return rc;
    realm.allow_all_control_planes = row->visibility.allow_all;
    *ret = realm;
    return 0;
}

int repo_consumer_export(const struct repo_consumer_row *row, struct arena *arena,
                         struct repo_consumer *ret, struct error *err)
{
    struct repo_labels labels;
    struct repo_consumer consumer = {.created_ms = row->created_ms, .updated_ms = row->updated_ms};
    int rc = repo_consumer_borrow(&row->record, &labels, &consumer.model, err);

    if (rc == 0)
        rc = export_string(&consumer.model.username, arena, err);
    if (rc == 0)
        rc = export_string(&consumer.model.custom_id, arena, err);
    if (rc == 0)
        rc = repo_strings_export(&consumer.model.tags, arena, &consumer.model.tags, err);
    if (rc == 0)
        rc = repo_strings_export(&consumer.model.groups, arena, &consumer.model.groups, err);
    if (rc == 0)
        *ret = consumer;
    return rc;
}

int repo_key_export(const struct repo_key_row *row, const struct repo_record *record,
                    struct arena *arena, struct repo_key *ret, struct error *err)
{
    struct repo_labels labels;
    struct repo_key key = {
        .type = row->type, .created_ms = row->created_ms, .updated_ms = row->updated_ms};
    int rc = repo_key_borrow(record, &labels, &key.model, err);

    if (rc == 0)
        rc = repo_strings_export(&key.model.tags, arena, &key.model.tags, err);
    if (rc == 0)
        *ret = key;
    return rc;
}
