/* http_tls.c - who the client is, by its certificate.
 *
 * MHD asks clients for a certificate of the configured authority but does not look at what comes;
 * verification is here, when a handler wants to know. The session is not in use meanwhile: the
 * connection is suspended. How strong keys and signatures must be is in the priority string.
 */
#include <string.h>

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

/* TLS 1.2 is the oldest that is not deprecated (RFC 8996); of it, the suites with forward secrecy
 * and authenticated encryption (RFC 9325); no SHA-1. The profile asks 112 bits of security of
 * client certificates: RSA from 2048 bits on. */
const char http_tls_priorities[] =
    "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"
    ":-CIPHER-ALL:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-GCM:-MAC-ALL:+AEAD"
    ":-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:-SIGN-DSA-SHA1:%PROFILE_MEDIUM";

struct fault_text {
    unsigned flag;
    const char *text;
};

/* The first that applies; GnuTLS sets INVALID beside each. */
static const struct fault_text fault_texts[] = {
    {GNUTLS_CERT_SIGNER_NOT_FOUND, "its issuer is not the configured authority"},
    {GNUTLS_CERT_SIGNER_NOT_CA, "its issuer is no authority"},
    {GNUTLS_CERT_SIGNATURE_FAILURE, "its signature is wrong"},
    {GNUTLS_CERT_EXPIRED, "it has expired"},
    {GNUTLS_CERT_NOT_ACTIVATED, "it is not valid yet"},
    {GNUTLS_CERT_PURPOSE_MISMATCH, "its extended key usage does not allow clientAuth"},
    {GNUTLS_CERT_INSECURE_ALGORITHM,
     "its key or signature, or its issuer's, is too weak (RSA needs 2048 bits, hashes SHA-256)"},
    {GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE, "it breaks its issuer's constraints"},
};

static int http_tls_refuse(unsigned faults, struct error *err)
{
    const char *text = "it cannot be verified";

    for (size_t i = sizeof(fault_texts) / sizeof(fault_texts[0]); i > 0; i--) {
        if ((faults & fault_texts[i - 1].flag) != 0)
            text = fault_texts[i - 1].text;
    }
    return error_set(err, E_UNAUTHORIZED, "The client certificate is not valid here: %s.", text);
}

/* The one common name; a certificate of two names would be two callers. */
static int read_name(gnutls_x509_crt_t leaf, char *name, size_t size)
{
    size_t length = size;
    size_t none = 0;

    if (gnutls_x509_crt_get_dn_by_oid(leaf, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &length) !=
            GNUTLS_E_SUCCESS ||
        strlen(name) != length)
        return E_UNAUTHORIZED;
    return gnutls_x509_crt_get_dn_by_oid(leaf, GNUTLS_OID_X520_COMMON_NAME, 1, 0, NULL, &none) ==
                   GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE
               ? 0
               : E_UNAUTHORIZED;
}

static int leaf_name(const gnutls_datum_t *certificate, char *name, size_t size,
                     uint8_t names[DIGEST_BYTES], struct error *err)
{
    gnutls_x509_crt_t leaf;
    int rc = E_UNAUTHORIZED;

    if (gnutls_x509_crt_init(&leaf) != GNUTLS_E_SUCCESS)
        return error_set(err, E_NO_MEMORY, NULL);
    if (gnutls_x509_crt_import(leaf, certificate, GNUTLS_X509_FMT_DER) == GNUTLS_E_SUCCESS)
        rc = read_name(leaf, name, size);
    if (rc == 0 && digest_names(leaf, certificate, names) != GNUTLS_E_SUCCESS)
        rc = E_UNAUTHORIZED;
    gnutls_x509_crt_deinit(leaf);
    if (rc == 0)
        return 0;
    return error_set(err, rc,
                     "The client certificate is not valid here: its common name must be a control "
                     "plane's UUID, once.");
}

static int verify(gnutls_session_t session, struct error *err)
{
    static char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st wanted = {.type = GNUTLS_DT_KEY_PURPOSE_OID,
                                    .data = (unsigned char *)purpose};
    unsigned faults = 0;

    if (gnutls_certificate_verify_peers(session, &wanted, 1, &faults) != GNUTLS_E_SUCCESS)
        faults = GNUTLS_CERT_INVALID;
    return faults != 0 ? http_tls_refuse(faults, err) : 0;
}

int http_client_name(const struct http_request *request, char *name, size_t size,
                     uint8_t names[DIGEST_BYTES], struct error *err)
{
    const struct exchange *exchange = (const struct exchange *)request;
    const union MHD_ConnectionInfo *info;
    const gnutls_datum_t *chain;
    unsigned count = 0;
    int rc;

    if (exchange->server->options.client_ca_pem == NULL)
        return E_NOT_FOUND;
    info = MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (info == NULL || info->tls_session == NULL)
        return E_NOT_FOUND;
    chain = gnutls_certificate_get_peers(info->tls_session, &count);
    if (chain == NULL || count == 0)
        return E_NOT_FOUND;
    rc = verify(info->tls_session, err);
    return rc != 0 ? rc : leaf_name(&chain[0], name, size, names, err);
}
