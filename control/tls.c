/* tls.c - see tls.h. */
#include "control/tls.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text_file.h"
#include "base/wipe.h"

enum { PEM_MAX_BYTES = 1024 * 1024 };

/* NULL path gives NULL. */
static int read_pem(const char *path, char **ret, struct error *err)
{
    size_t ignored;

    if (path == NULL)
        return 0;
    if (text_file_read(path, PEM_MAX_BYTES, ret, &ignored, err) != 0)
        return error_context(err, "TLS file");
    return 0;
}

static struct tls_file file_of(const char *path, const char *pem)
{
    return (struct tls_file){path, pem, strlen(pem)};
}

static int check(const struct control_config *config, struct control_tls *tls, struct error *err)
{
    struct tls_file cert;
    struct tls_file key;
    struct tls_file authorities;
    int rc = 0;

    if (tls->cert != NULL && tls->key != NULL) {
        cert = file_of(config->tls_cert, tls->cert);
        key = file_of(config->tls_key, tls->key);
        rc = tls_check_pair(&cert, &key, TLS_SERVER, clock_wall_ms(), &tls->warnings[0], err);
    }
    if (rc == 0 && tls->client_ca != NULL) {
        authorities = file_of(config->client_ca, tls->client_ca);
        rc = tls_check_authorities(&authorities, clock_wall_ms(), &tls->warnings[1], err);
    }
    return rc;
}

int control_tls_read(const struct control_config *config, struct control_tls *ret,
                     struct error *err)
{
    int rc;

    *ret = (struct control_tls){.cert = NULL};
    rc = read_pem(config->tls_cert, &ret->cert, err);
    if (rc == 0)
        rc = read_pem(config->tls_key, &ret->key, err);
    if (rc == 0)
        rc = read_pem(config->client_ca, &ret->client_ca, err);
    return rc == 0 ? check(config, ret, err) : rc;
}

void control_tls_finish(struct control_tls *tls)
{
    free(tls->cert);
    wipe_free(tls->key);
    free(tls->client_ca);
    *tls = (struct control_tls){.cert = NULL};
}
