/* auth.h - who is asking, and what may they do.
 *
 * A caller is known by a bearer token, compared by its SHA-256, or by a client certificate whose
 * common name is a control plane's UUID: a data-plane host of that control plane. The organisation
 * administrator's token comes from a file, all others from the repository.
 */
#ifndef RS_CONTROL_AUTH_H
#define RS_CONTROL_AUTH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "control/http/http.h"
#include "control/repo/repo.h"

enum { AUTH_TOKEN_MIN = 16, AUTH_PREFIX_MAX = 80, AUTH_SECRET_SIZE = AUTH_PREFIX_MAX + 44 };

struct auth {
    struct repo *repo;     /* borrowed; set by the owner */
    pthread_rwlock_t lock; /* a reload changes what follows, under requests */
    uint8_t admin_hash[DIGEST_BYTES];
};

struct auth_identity {
    enum repo_role role;
    struct uuid token_id; /* nil: the administrator's token, or a certificate */
    /* What tells callers apart: the token's id, or a digest of the names in the certificate, which
     * outlives its renewal. Nil: the administrator's token. */
    struct uuid credential;
    bool has_control_plane;
    struct uuid control_plane_id;
};

/* What a route asks of its caller. */
enum auth_access {
    AUTH_PUBLIC,
    AUTH_REALMS_READ,
    AUTH_REALMS_WRITE,
    AUTH_CORE_READ, /* of the control plane in the path */
    AUTH_CORE_WRITE,
    AUTH_TOKENS,
    AUTH_HOSTS,
    AUTH_EPOCH, /* what every host may lose */
    AUTH_AUTHENTICATE,
    AUTH_SYNC,
    AUTH_ACCESSES
};

/* Reads the administrator's token (base/token_file.h). Refuses a file that others may read and a
 * token under AUTH_TOKEN_MIN characters. */
int auth_init(struct auth *auth, const char *admin_token_file, struct error *err);
/* The same while requests are answered; on failure the former token stays. */
int auth_reload(struct auth *auth, const char *admin_token_file, struct error *err);

/* 0 or E_UNAUTHORIZED (no valid credentials), or what the repository said. */
int auth_identify(struct auth *auth, struct http_request *request, struct auth_identity *ret,
                  struct error *err);

/* Whether the role may; `control_plane` is the one in the path or NULL. */
bool auth_allows(const struct auth_identity *identity, enum auth_access access,
                 const struct uuid *control_plane);

/* `prefix` (at most AUTH_PREFIX_MAX characters) and 32 random bytes in base64url. 0 or E_IO. */
int auth_generate_secret(const char *prefix, char ret[AUTH_SECRET_SIZE]);

/* Role names as the REST API has them, in order of enum repo_role, NULL at the end. */
extern const char *const auth_role_names[REPO_ROLES + 1];

#endif
