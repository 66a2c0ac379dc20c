/* diff_entity.h - what realmctl diff compares: the kinds of records, and the fields of each. */
#ifndef RS_TOOLS_DIFF_ENTITY_H
#define RS_TOOLS_DIFF_ENTITY_H

#include "tools/sources.h"

enum diff_field {
    DIFF_FIELD_ID,
    DIFF_FIELD_NAME,
    DIFF_FIELD_REALM_REGION,
    DIFF_FIELD_TTL,
    DIFF_FIELD_NEGATIVE_TTL,
    DIFF_FIELD_GROUPS,
    DIFF_FIELD_TYPE,
    DIFF_FIELD_USERNAME,
    DIFF_FIELD_CUSTOM_ID,
    DIFF_FIELD_TAGS,
    DIFF_FIELD_CONSUMER_ID,
    DIFF_FIELD_EXPIRES_AT,
    DIFF_FIELD_DIGEST,
    DIFF_FIELD_DIGEST_KEY,
    DIFF_FIELDS
};

/* As dump and get call them. */
extern const char *const diff_field_names[DIFF_FIELDS];

/* What a difference is in. */
struct diff_subject {
    const char *entity;
    const struct tool_source *source; /* the side, or one of both, that has it */
    uint32_t scope;
    struct uuid id;
    struct uuid consumer_id; /* of a key */
};

union diff_record {
    struct record_realm realm;
    struct record_consumer consumer;
    struct record_key key;
};

struct diff_kind {
    const char *name;
    enum record_kind kind;
    enum table table;
    int (*order)(const MDB_val *a, const MDB_val *b); /* that of the table */
    /* False: damaged. */
    bool (*view)(const MDB_val *key, const MDB_val *value, union diff_record *record,
                 struct diff_subject *subject);
    /* Gives the set of fields that differ, one bit each. */
    unsigned (*compare)(const union diff_record *a, const union diff_record *b);
};

enum { DIFF_KINDS = 3 };
extern const struct diff_kind diff_kinds[DIFF_KINDS];

/* Reads what the walk is on, after a full check. E_CORRUPT with a message. */
int diff_read(const struct diff_kind *kind, const struct table_walk *walk,
              union diff_record *record, struct diff_subject *subject, struct error *err);

#endif
