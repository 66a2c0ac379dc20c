/* http_tls.c - who the client is, by its certificate.
 *
 * MHD asks clients for a certificate of the configured authority but does not look at what comes;
 * verification is here, when a handler wants to know. The session is not in use meanwhile: the
 * connection is suspended.
 */
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "base/digest.h"
#include "control/http/http_internal.h"

enum { ALTERNATIVE_NAMES_MAX = 16 * 1024 };

static void add_datum(struct digest_stream *stream, const gnutls_datum_t *datum)
{
    const uint32_t size = datum->size;

    digest_stream_add(stream, &size, sizeof(size));
    digest_stream_add(stream, datum->data, size);
}

static void add_names(struct digest_stream *stream, const gnutls_datum_t *issuer,
                      const gnutls_datum_t *subject, const gnutls_datum_t *others)
{
    add_datum(stream, issuer);
    add_datum(stream, subject);
    add_datum(stream, others);
}

/* Issuer, subject and alternative names as they are encoded, which stay when a certificate is
 * renewed; of one that has more than that, its bytes. */
static int digest_names(gnutls_x509_crt_t leaf, const gnutls_datum_t *encoded,
                        uint8_t digest[DIGEST_BYTES])
{
    unsigned char bytes[ALTERNATIVE_NAMES_MAX];
    size_t size = sizeof(bytes);
    gnutls_datum_t issuer = {NULL, 0};
    gnutls_datum_t subject = {NULL, 0};
    gnutls_datum_t others = {bytes, 0};
    struct digest_stream stream;
    int rc = gnutls_x509_crt_get_raw_issuer_dn(leaf, &issuer);

    if (rc == GNUTLS_E_SUCCESS)
        rc = gnutls_x509_crt_get_raw_dn(leaf, &subject);
    digest_stream_init(&stream);
    if (rc == GNUTLS_E_SUCCESS) {
        int found = gnutls_x509_crt_get_extension_by_oid(leaf, GNUTLS_X509EXT_OID_SAN, 0, bytes,
                                                         &size, NULL);

        others.size = found == GNUTLS_E_SUCCESS ? (unsigned)size : 0;
        if (found == GNUTLS_E_SHORT_MEMORY_BUFFER)
            add_datum(&stream, encoded);
        else
            add_names(&stream, &issuer, &subject, &others);
    }
    digest_stream_end(&stream, digest);
    gnutls_free(issuer.data);
    gnutls_free(subject.data);
    return rc;
}

static int leaf_name(gnutls_session_t session, char *name, size_t size, uint8_t names[DIGEST_BYTES])
{
    unsigned count = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &count);
    gnutls_x509_crt_t leaf;
    int rc;

    if (chain == NULL || count == 0)
        return E_NOT_FOUND;
    if (gnutls_x509_crt_init(&leaf) != GNUTLS_E_SUCCESS)
        return E_NO_MEMORY;
    rc = gnutls_x509_crt_import(leaf, &chain[0], GNUTLS_X509_FMT_DER);
    if (rc == GNUTLS_E_SUCCESS)
        rc = gnutls_x509_crt_get_dn_by_oid(leaf, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &size);
    if (rc == GNUTLS_E_SUCCESS)
        rc = digest_names(leaf, &chain[0], names);
    gnutls_x509_crt_deinit(leaf);
    return rc == GNUTLS_E_SUCCESS ? 0 : E_UNAUTHORIZED;
}

int http_client_name(const struct http_request *request, char *name, size_t size,
                     uint8_t names[DIGEST_BYTES])
{
    const struct exchange *exchange = (const struct exchange *)request;
    const union MHD_ConnectionInfo *info;
    gnutls_session_t session;
    unsigned faults = 0;
    unsigned count = 0;

    if (exchange->server->options.client_ca_pem == NULL)
        return E_NOT_FOUND;
    info = MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (info == NULL || info->tls_session == NULL)
        return E_NOT_FOUND;
    session = info->tls_session;
    if (gnutls_certificate_get_peers(session, &count) == NULL || count == 0)
        return E_NOT_FOUND;
    if (gnutls_certificate_verify_peers2(session, &faults) != GNUTLS_E_SUCCESS || faults != 0)
        return E_UNAUTHORIZED;
    return leaf_name(session, name, size, names);
}
