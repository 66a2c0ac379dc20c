/* http_tls.c - who the client is, by its certificate.
 *
 * MHD asks clients for a certificate of the configured authority but does not look at what comes;
 * verification is here, when a handler wants to know. The session is not in use meanwhile: the
 * connection is suspended.
 */
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "control/http/http_internal.h"

static int leaf_name(gnutls_session_t session, char *name, size_t size)
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
    gnutls_x509_crt_deinit(leaf);
    return rc == GNUTLS_E_SUCCESS ? 0 : E_UNAUTHORIZED;
}

int http_client_name(const struct http_request *request, char *name, size_t size)
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
    return leaf_name(session, name, size);
}
