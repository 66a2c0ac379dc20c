/* diff_entity.h - what realmctl diff compares: the tables, and the fields of each record. */
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

struct diff_record {
    enum record_kind kind;
    union {
        struct record_realm realm;
        struct record_consumer consumer;
        struct record_key key;
    };
};

/* What is walked on both sides at once. */
struct diff_table {
    enum table table;
    int (*order)(const MDB_val *a, const MDB_val *b); /* that of the table */
};

enum { DIFF_TABLES = 2 };
extern const struct diff_table diff_tables[DIFF_TABLES];

/* Reads what the walk is on, after a full check; E_CORRUPT with a message. What belongs to it in
 * other tables is part of it. */
int diff_read(const struct table_walk *walk, struct diff_record *record,
              struct diff_subject *subject, struct error *err);
/* The set of fields that differ between two records of one kind, one bit each. */
unsigned diff_compare(const struct diff_record *a, const struct diff_record *b);

#endif
