/* record_layout.h - where each field of a record stands; docs/store-format.md says it in
 * prose.
 *
 *     head (all kinds)    fixed part (by kind)    offsets: u32 each    strings    zeros up to 8
 *
 * A record is canonical because nothing in it is a choice: strings follow one another in the order
 * of their offsets, the first right behind the offsets, and the padding is zero.
 */
#ifndef RS_STORE_RECORD_LAYOUT_H
#define RS_STORE_RECORD_LAYOUT_H

enum {
    /* Head. */
    RECORD_AT_SIZE = 0,   /* u32: bytes of the whole record, padding included */
    RECORD_AT_KIND = 4,   /* u8: enum record_kind */
    RECORD_AT_FORMAT = 5, /* u8: RECORD_FORMAT */
    RECORD_AT_TYPE = 6,   /* u16: enum model_consumer_type; 0 in realms and keys */
    RECORD_AT_ID = 8,     /* the entity's UUID */
    RECORD_AT_CHECK = 24, /* u32: checksum of all other bytes */
    RECORD_HEAD_BYTES = 28,

    /* RECORD_REALM */
    REALM_AT_NUMBER = 28,
    REALM_AT_TTL = 32,          /* minutes */
    REALM_AT_NEGATIVE_TTL = 36, /* minutes */
    REALM_AT_NAME = 40,         /* u32 offset */
    REALM_AT_REGION = 44,       /* u32 offset */
    REALM_AT_GROUPS = 48,       /* u32 count */
    REALM_FIXED_BYTES = 52,

    /* RECORD_CONSUMER. What a gateway reads stands together and first; tags come last. */
    CONSUMER_AT_USERNAME = 28,  /* u32 offset, 0: none */
    CONSUMER_AT_CUSTOM_ID = 32, /* u32 offset, 0: none */
    CONSUMER_AT_GROUPS = 36,    /* u32 count; their offsets come first */
    CONSUMER_AT_TAGS = 40,      /* u32 count */
    CONSUMER_FIXED_BYTES = 44,

    /* RECORD_KEY */
    KEY_AT_CONSUMER = 28, /* UUID */
    KEY_AT_EXPIRES = 44,  /* i64 wall ms, 0: never */
    KEY_AT_DIGEST = 52,
    KEY_AT_TAGS = 84, /* u32 count */
    KEY_FIXED_BYTES = 88,

    RECORD_OFFSET_BYTES = 4,
    RECORD_ALIGNMENT = 8
};

#endif
