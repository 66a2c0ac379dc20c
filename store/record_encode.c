/* record_encode.c - entities to record bytes.
 *
 * A record is sized first, reserved in one piece, then filled. What may stand in a record is
 * decided in one place, record_check(): each encoder hands its result to it and takes the bytes
 * back when it says no. So nothing can be written that a reader would refuse.
 */
#include "store/record.h"

#include <assert.h>
#include <string.h>

#include "base/error.h"
#include "store/bytes.h"
#include "store/record_layout.h"

/* A record under construction. */
struct draft {
    unsigned char *record;
    uint32_t offset_at; /* where the next list offset goes */
    uint32_t string_at; /* where the next string goes */
};

static size_t string_bytes(const char *string)
{
    return string != NULL ? strlen(string) + 1 : 0;
}

/* Bytes of the strings and their offsets. */
static size_t list_bytes(const struct model_strings *list)
{
    size_t total = list->count * RECORD_OFFSET_BYTES;

    for (size_t i = 0; i < list->count; i++)
        total += string_bytes(list->items[i]);
    return total;
}

static bool too_many(const struct model_strings *list)
{
    return list->count > MODEL_LABELS_MAX;
}

/* Reserves a zeroed record: `fixed` bytes, `n_offsets` offsets, `variable` bytes of offsets and
 * strings together. */
static int draft_begin(struct buffer *out, enum record_kind kind, const struct uuid *id,
                       size_t fixed, size_t n_offsets, size_t variable, struct draft *ret)
{
    size_t strings_at = fixed + n_offsets * RECORD_OFFSET_BYTES;
    size_t size = fixed + variable;
    int rc;

    if (size == strings_at)
        size++; /* without strings the final NUL stands alone */
    size = (size + RECORD_ALIGNMENT - 1) / RECORD_ALIGNMENT * RECORD_ALIGNMENT;
    if (size > RECORD_MAX_BYTES)
        return E_INVALID;
    rc = buffer_append_zero(out, size, &ret->record);
    if (rc != 0)
        return rc;
    ret->offset_at = (uint32_t)fixed;
    ret->string_at = (uint32_t)strings_at;
    bytes_put_u32(ret->record + RECORD_AT_SIZE, (uint32_t)size);
    ret->record[RECORD_AT_KIND] = (unsigned char)kind;
    ret->record[RECORD_AT_FORMAT] = RECORD_FORMAT;
    memcpy(ret->record + RECORD_AT_ID, id->bytes, UUID_BYTES);
    return 0;
}

/* Puts a string behind the others and its offset at `offset_at`; NULL leaves the offset 0. */
static void draft_string(struct draft *draft, uint32_t offset_at, const char *string)
{
    size_t size = string_bytes(string);

    if (size == 0)
        return;
    memcpy(draft->record + draft->string_at, string, size);
    bytes_put_u32(draft->record + offset_at, draft->string_at);
    draft->string_at += (uint32_t)size;
}

static void draft_list(struct draft *draft, uint32_t count_at, const struct model_strings *list)
{
    bytes_put_u32(draft->record + count_at, (uint32_t)list->count);
    for (size_t i = 0; i < list->count; i++) {
        draft_string(draft, draft->offset_at, list->items[i]);
        draft->offset_at += RECORD_OFFSET_BYTES;
    }
}

/* Seals the record, and takes it back when it breaks a rule. */
static int draft_end(struct buffer *out, enum record_kind kind, const struct draft *draft)
{
    size_t size = bytes_get_u32(draft->record + RECORD_AT_SIZE);

    assert(size <= out->size);
    bytes_put_u32(draft->record + RECORD_AT_CHECK, record_checksum(draft->record, size));
    if (record_check(kind, draft->record, size))
        return 0;
    out->size -= size;
    return E_INVALID;
}

int record_encode_realm(const struct model_realm *realm, struct buffer *out)
{
    struct draft draft;
    int rc;

    if (too_many(&realm->groups))
        return E_INVALID;
    rc = draft_begin(out, RECORD_REALM, &realm->id, REALM_FIXED_BYTES, realm->groups.count,
                     string_bytes(realm->name) + string_bytes(realm->region) +
                         list_bytes(&realm->groups),
                     &draft);
    if (rc != 0)
        return rc;
    bytes_put_u32(draft.record + REALM_AT_NUMBER, realm->number);
    bytes_put_u32(draft.record + REALM_AT_TTL, realm->ttl_min);
    bytes_put_u32(draft.record + REALM_AT_NEGATIVE_TTL, realm->negative_ttl_min);
    draft_string(&draft, REALM_AT_NAME, realm->name);
    draft_string(&draft, REALM_AT_REGION, realm->region);
    draft_list(&draft, REALM_AT_GROUPS, &realm->groups);
    return draft_end(out, RECORD_REALM, &draft);
}

int record_encode_consumer(const struct model_consumer *consumer, struct buffer *out)
{
    struct draft draft;
    int rc;

    if (too_many(&consumer->tags) || too_many(&consumer->groups))
        return E_INVALID;
    rc = draft_begin(out, RECORD_CONSUMER, &consumer->id, CONSUMER_FIXED_BYTES,
                     consumer->tags.count + consumer->groups.count,
                     string_bytes(consumer->username) + string_bytes(consumer->custom_id) +
                         list_bytes(&consumer->tags) + list_bytes(&consumer->groups),
                     &draft);
    if (rc != 0)
        return rc;
    bytes_put_u16(draft.record + RECORD_AT_TYPE, (uint16_t)consumer->type);
    draft_string(&draft, CONSUMER_AT_USERNAME, consumer->username);
    draft_string(&draft, CONSUMER_AT_CUSTOM_ID, consumer->custom_id);
    draft_list(&draft, CONSUMER_AT_GROUPS, &consumer->groups);
    draft_list(&draft, CONSUMER_AT_TAGS, &consumer->tags);
    return draft_end(out, RECORD_CONSUMER, &draft);
}

int record_encode_key(const struct model_key *key, struct buffer *out)
{
    struct draft draft;
    int rc;

    if (too_many(&key->tags))
        return E_INVALID;
    rc = draft_begin(out, RECORD_KEY, &key->id, KEY_FIXED_BYTES, key->tags.count,
                     list_bytes(&key->tags), &draft);
    if (rc != 0)
        return rc;
    memcpy(draft.record + KEY_AT_CONSUMER, key->consumer_id.bytes, UUID_BYTES);
    bytes_put_u64(draft.record + KEY_AT_EXPIRES, (uint64_t)key->expires_at_ms);
    memcpy(draft.record + KEY_AT_DIGEST, key->digest, DIGEST_BYTES);
    draft_list(&draft, KEY_AT_TAGS, &key->tags);
    return draft_end(out, RECORD_KEY, &draft);
}
