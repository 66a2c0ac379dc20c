#include "control/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"

enum { PEM_MAX_BYTES = 1024 * 1024 };

/* The file's text, to be freed; NULL path gives NULL. */
static int read_pem(const char *path, char **ret, struct error *err)
{
    struct buffer text;
    FILE *file;
    char part[4096];
    size_t count;
    int rc = 0;

    if (path == NULL)
        return 0;
    file = fopen(path, "re");
    if (file == NULL)
        return error_set_errno(err, errno, "TLS file '%s'", path);
    (void)setvbuf(file, NULL, _IONBF, 0); /* no copy of a key stays in the stream's buffer */
    buffer_init(&text, PEM_MAX_BYTES);
    while (rc == 0 && (count = fread(part, 1, sizeof(part), file)) > 0)
        rc = buffer_append(&text, part, count);
    if (rc == 0 && ferror(file))
        rc = E_IO;
    if (rc == 0)
        rc = buffer_terminate(&text);
    (void)fclose(file); /* only read from */
    explicit_bzero(part, sizeof(part));
    if (rc == 0)
        *ret = (char *)buffer_take(&text, &count);
    buffer_finish(&text);
    return rc != 0 ? error_set(err, rc, "TLS file '%s': %s", path, error_text(rc)) : 0;
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
        rc = tls_check_pair(&cert, &key, clock_wall_ms(), &tls->warnings[0], err);
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
    if (tls->key != NULL)
        explicit_bzero(tls->key, strlen(tls->key));
    free(tls->cert);
    free(tls->key);
    free(tls->client_ca);
    *tls = (struct control_tls){.cert = NULL};
}
