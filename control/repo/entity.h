/* entity.h - records and what stands beside them in a row, as entities.
 *
 * Every implementation keeps records of store/record.h, byte for byte as hosts have them.
 * Borrowing allocates nothing: strings stay where the record is, and only the lists of pointers to
 * them stand in the caller's struct repo_labels. Exporting copies an entity into an arena.
 *
 * Failure modes: a record that is not what its row says is E_CORRUPT.
 */
#ifndef RS_CONTROL_REPO_ENTITY_H
#define RS_CONTROL_REPO_ENTITY_H

#include "base/arena.h"
#include "control/repo/repo.h"
#include "control/repo/visibility.h"

/* Borrowed bytes; for how long, says whoever gives them. */
struct repo_record {
    const void *bytes;
    size_t size;
};
bool repo_same_record(const struct repo_record *a, const struct repo_record *b);

struct repo_realm_row {
    int64_t created_ms;
    int64_t updated_ms;
    struct repo_visibility visibility;
    struct repo_record record;
};
struct repo_consumer_row {
    int64_t created_ms;
    int64_t updated_ms;
    struct repo_record record;
};
struct repo_key_row {
    int64_t created_ms;
    int64_t updated_ms;
    enum repo_key_type type;
    uint8_t digest[DIGEST_BYTES];
    struct repo_record record;
};

/* Where the string lists of a borrowed entity stand. */
struct repo_labels {
    const char *tags[MODEL_LABELS_MAX];
    const char *groups[MODEL_LABELS_MAX];
};
int repo_realm_borrow(const struct repo_record *record, struct repo_labels *labels,
                      struct model_realm *ret, struct error *err);
int repo_consumer_borrow(const struct repo_record *record, struct repo_labels *labels,
                         struct model_consumer *ret, struct error *err);
int repo_key_borrow(const struct repo_record *record, struct repo_labels *labels,
                    struct model_key *ret, struct error *err);

int repo_realm_export(const struct repo_realm_row *row, struct arena *arena, struct repo_realm *ret,
                      struct error *err);
int repo_consumer_export(const struct repo_consumer_row *row, struct arena *arena,
                         struct repo_consumer *ret, struct error *err);
int repo_key_export(const struct repo_key_row *row, const struct repo_record *record,
                    struct arena *arena, struct repo_key *ret, struct error *err);
int repo_strings_export(const struct model_strings *strings, struct arena *arena,
                        struct model_strings *ret, struct error *err);

#endif
