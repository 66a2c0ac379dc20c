/* errors.h - the repository's errors, each with a sentence for whoever reads it. All return the
 * code.
 */
#ifndef RS_CONTROL_REPO_ERRORS_H
#define RS_CONTROL_REPO_ERRORS_H

#include "base/error.h"
#include "base/uuid.h"

int repo_no_memory(struct error *err);
int repo_corrupt(const char *what, struct error *err);
/* Adds a sentence to what record_encode_*() or buffer_*() returned; 0 stays 0. */
int repo_encode_error(int code, const char *what, struct error *err);
/* `field` names the part of the path; the message names the entity and its id. */
int repo_not_found(const char *field, const char *what, const struct uuid *id, struct error *err);

#endif
