/* auth.c - identification and the role matrix.
 *
 * Tokens are 256 random bits (or the administrator's own choice of at least 16 characters), so a
 * plain hash is enough to store them, and finding one by its hash tells an attacker nothing about
 * the token.
 */
#include "control/rest/auth.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/token_file.h"
#include "control/rest/rest_base64.h"

enum { SECRET_BYTES = 32 };

const char *const auth_role_names[REPO_ROLES + 1] = {
    [REPO_ROLE_ORG_ADMIN] = "org-admin",
    [REPO_ROLE_CONTROL_PLANE_ADMIN] = "control-plane-admin",
    [REPO_ROLE_VIEWER] = "viewer",
    [REPO_ROLE_DATA_PLANE] = "data-plane",
};

#define ADMIN  (1U << REPO_ROLE_ORG_ADMIN)
#define CP     (1U << REPO_ROLE_CONTROL_PLANE_ADMIN)
#define VIEWER (1U << REPO_ROLE_VIEWER)
#define DATA   (1U << REPO_ROLE_DATA_PLANE)

static const unsigned allowed_roles[AUTH_ACCESSES] = {
    [AUTH_PUBLIC] = ADMIN | CP | VIEWER | DATA,
    [AUTH_REALMS_READ] = ADMIN | CP | VIEWER,
    [AUTH_REALMS_WRITE] = ADMIN | CP,
    [AUTH_CORE_READ] = ADMIN | CP | VIEWER,
    [AUTH_CORE_WRITE] = ADMIN | CP,
    [AUTH_TOKENS] = ADMIN,
    [AUTH_HOSTS] = ADMIN | CP | VIEWER,
    [AUTH_EPOCH] = ADMIN,
    [AUTH_AUTHENTICATE] = ADMIN | CP | DATA,
    [AUTH_SYNC] = DATA,
};

bool auth_allows(const struct auth_identity *identity, enum auth_access access,
                 const struct uuid *control_plane)
{
    if ((allowed_roles[access] & 1U << identity->role) == 0)
        return false;
    return control_plane == NULL || !identity->has_control_plane ||
           uuid_equal(control_plane, &identity->control_plane_id);
}

/* The file's token, hashed. */
static int read_admin_token(const char *path, uint8_t hash[DIGEST_BYTES], struct error *err)
{
    char *token;
    mode_t mode;
    int rc = token_file_read(path, &token, &mode, err);

    if (rc != 0)
        return error_context(err, "admin token file");
    if ((mode & (S_IRWXO | S_IWGRP)) != 0)
        rc = error_set(err, E_CONFIG,
                       "admin token file '%s' is open to others; chmod 0600 (or 0640) it", path);
    else if (strlen(token) < AUTH_TOKEN_MIN)
        rc = error_set(err, E_CONFIG,
                       "admin token file '%s' holds fewer than %d characters; "
                       "openssl rand -hex 32 > FILE makes a good one",
                       path, AUTH_TOKEN_MIN);
    else
        digest_sha256(token, strlen(token), hash);
    token_file_forget(token);
    return rc;
}

int auth_init(struct auth *auth, const char *admin_token_file, struct error *err)
{
    (void)pthread_rwlock_init(&auth->lock, NULL); /* cannot fail with default attributes */
    return read_admin_token(admin_token_file, auth->admin_hash, err);
}

int auth_reload(struct auth *auth, const char *admin_token_file, struct error *err)
{
    uint8_t hash[DIGEST_BYTES];
    int rc = read_admin_token(admin_token_file, hash, err);

    if (rc != 0)
        return rc;
    (void)pthread_rwlock_wrlock(&auth->lock); /* used right, it cannot fail */
    memcpy(auth->admin_hash, hash, sizeof(hash));
    (void)pthread_rwlock_unlock(&auth->lock);
    return 0;
}

static bool is_admin(struct auth *auth, const uint8_t hash[DIGEST_BYTES])
{
    bool equal;

    (void)pthread_rwlock_rdlock(&auth->lock); /* as above */
    equal = CRYPTO_memcmp(hash, auth->admin_hash, DIGEST_BYTES) == 0;
    (void)pthread_rwlock_unlock(&auth->lock);
    return equal;
}

/* The token of an Authorization header, or NULL. */
static const char *bearer_token(const char *header)
{
    static const char scheme[] = "Bearer ";

    if (strncasecmp(header, scheme, sizeof(scheme) - 1) != 0)
        return NULL;
    header += sizeof(scheme) - 1;
    return header + strspn(header, " ");
}

static int identify_token(struct auth *auth, struct arena *arena, const char *token,
                          struct auth_identity *ret, struct error *err)
{
    uint8_t hash[DIGEST_BYTES];
    struct repo_token found;
    int rc;

    digest_sha256(token, strlen(token), hash);
    if (is_admin(auth, hash)) {
        *ret = (struct auth_identity){.role = REPO_ROLE_ORG_ADMIN};
        return 0;
    }
    rc = repo_token_find(&(struct repo_call){.repo = auth->repo, .arena = arena, .err = err}, hash,
                         &found);
    if (rc == E_NOT_FOUND)
        return error_set(err, E_UNAUTHORIZED, "The token is not valid.");
    if (rc != 0)
        return rc;
    *ret = (struct auth_identity){.role = found.role,
                                  .token_id = found.id,
                                  .credential = found.id,
                                  .has_control_plane = found.has_control_plane,
                                  .control_plane_id = found.control_plane_id};
    return 0;
}

static int identify_certificate(const struct http_request *request, struct auth_identity *ret,
                                struct error *err)
{
    char name[UUID_TEXT_SIZE];
    uint8_t names[DIGEST_BYTES];
    int rc = http_client_name(request, name, sizeof(name), names, err);

    if (rc == E_NOT_FOUND)
        return error_set(err, E_UNAUTHORIZED, "A bearer token is needed.");
    if (rc != 0)
        return rc;
    if (!uuid_parse(name, &ret->control_plane_id))
        return error_set(err, E_UNAUTHORIZED,
                         "The client certificate's common name is not a control plane's UUID.");
    memcpy(ret->credential.bytes, names, UUID_BYTES);
    ret->role = REPO_ROLE_DATA_PLANE;
    ret->has_control_plane = true;
    return 0;
}

int auth_identify(struct auth *auth, struct http_request *request, struct auth_identity *ret,
                  struct error *err)
{
    const char *header = http_header(request, "Authorization");
    const char *token;

    if (header == NULL)
        return identify_certificate(request, ret, err);
    token = bearer_token(header);
    if (token == NULL)
        return error_set(err, E_UNAUTHORIZED, "The Authorization header is not 'Bearer TOKEN'.");
    return identify_token(auth, &request->arena, token, ret, err);
}

int auth_generate_secret(const char *prefix, char ret[AUTH_SECRET_SIZE])
{
    uint8_t bytes[SECRET_BYTES];
    char text[BASE64URL_LENGTH(SECRET_BYTES) + 1];

    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
        return E_IO;
    base64url_encode(bytes, sizeof(bytes), text);
    (void)snprintf(ret, AUTH_SECRET_SIZE, "%s%s", prefix, text); /* fits: see AUTH_PREFIX_MAX */
    OPENSSL_cleanse(bytes, sizeof(bytes));
    OPENSSL_cleanse(text, sizeof(text));
    return 0;
}
