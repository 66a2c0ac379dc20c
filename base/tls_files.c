/* tls_files.c - see tls_files.h. */
#include "base/tls_files.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

enum { SECURITY_BITS = 112 };

/* What the key's reader is told: is a passphrase asked for? There is never one. */
static int refuse_passphrase(char *text, int size, int writing, void *context)
{
    (void)text;
    (void)size;
    (void)writing;
    *(int *)context = 1;
    return -1;
}

static BIO *open_pem(const struct tls_file *file, struct error *err)
{
    BIO *bio = BIO_new_mem_buf(file->pem, (int)file->size);

    ERR_clear_error(); /* what is read from the queue below is ours */
    if (bio == NULL)
        (void)error_set(err, E_NO_MEMORY, NULL);
    return bio;
}

/* Only "no more of them" may end a list. */
static bool is_end(void)
{
    unsigned long code = ERR_peek_last_error();

    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

/* ---- dates ---- */

static void warn(struct tls_warning *warning, const char *path, unsigned index, const char *what,
                 const ASN1_TIME *when)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *date = NULL;
    long size = 0;

    if (warning->text[0] != 0)
        goto done; /* the first one is enough */
    if (bio != NULL && ASN1_TIME_print(bio, when) == 1)
        size = BIO_get_mem_data(bio, &date);
    (void)snprintf(warning->text, sizeof(warning->text), "%s: certificate %u %s %.*s", path, index,
                   what, (int)size, date != NULL ? date : "");
done:
    BIO_free(bio);
}

/* Whether it is valid now; else the warning says so. */
static bool check_dates(const X509 *certificate, const char *path, unsigned index, int64_t wall_ms,
                        struct tls_warning *warning)
{
    time_t now = (time_t)(wall_ms / 1000);
    const ASN1_TIME *from = X509_get0_notBefore(certificate);
    const ASN1_TIME *until = X509_get0_notAfter(certificate);

    if (X509_cmp_time(until, &now) < 0)
        warn(warning, path, index, "has expired:", until);
    else if (X509_cmp_time(from, &now) > 0)
        warn(warning, path, index, "is not valid before", from);
    else
        return true;
    return false;
}

/* ---- certificates ---- */

struct chain {
    X509 *first; /* owned; NULL: none yet */
    unsigned count;
    unsigned n_valid;
};

static int read_chain(const struct tls_file *file, int64_t wall_ms, struct chain *ret,
                      struct tls_warning *warning, struct error *err)
{
    BIO *bio = open_pem(file, err);
    X509 *certificate;
    int rc = 0;

    *ret = (struct chain){NULL, 0, 0};
    if (bio == NULL)
        return err->code;
    while ((certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
        ret->count++;
        ret->n_valid += check_dates(certificate, file->path, ret->count, wall_ms, warning);
        if (ret->first == NULL)
            ret->first = certificate;
        else
            X509_free(certificate);
    }
    if (!is_end())
        rc = error_set(err, E_CONFIG, "%s: certificate %u cannot be read: it is damaged, or no PEM",
                       file->path, ret->count + 1);
    else if (ret->count == 0)
        rc = error_set(err, E_CONFIG, "%s holds no certificate in PEM form", file->path);
    ERR_clear_error();
    BIO_free(bio);
    if (rc != 0) {
        X509_free(ret->first);
        ret->first = NULL;
    }
    return rc;
}

/* ---- keys ---- */

static int tls_files_read_key(const struct tls_file *file, EVP_PKEY **ret, struct error *err)
{
    BIO *bio = open_pem(file, err);
    int asked = 0;
    int rc = 0;

    if (bio == NULL)
        return err->code;
    *ret = PEM_read_bio_PrivateKey(bio, NULL, refuse_passphrase, &asked);
    if (*ret == NULL && asked != 0)
        rc = error_set(err, E_CONFIG,
                       "%s has a passphrase, which nobody can be asked for: take it off with "
                       "`openssl pkey -in FILE -out NEW`, and keep the file for its user alone",
                       file->path);
    else if (*ret == NULL)
        rc = error_set(err, E_CONFIG, "%s holds no private key in PEM form", file->path);
    ERR_clear_error();
    BIO_free(bio);
    return rc;
}

/* What the other end would refuse it for. */
static int check_use(const struct tls_file *file, X509 *certificate, enum tls_use use,
                     struct error *err)
{
    int purpose = use == TLS_SERVER ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT;
    int signature_bits = SECURITY_BITS;

    if (EVP_PKEY_get_security_bits(X509_get0_pubkey(certificate)) < SECURITY_BITS)
        return error_set(
            err, E_CONFIG,
            "%s: the certificate's key is too weak (RSA needs 2048 bits): make new ones",
            file->path);
    /* Nobody looks at the signature of a certificate that is its own authority. */
    (void)X509_get_signature_info(certificate, NULL, NULL, &signature_bits, NULL);
    if (signature_bits < SECURITY_BITS && X509_self_signed(certificate, 0) != 1)
        return error_set(err, E_CONFIG,
                         "%s: the certificate's signature is too weak (SHA-256 is needed): have it "
                         "signed anew",
                         file->path);
    if (X509_check_purpose(certificate, purpose, 0) != 1)
        return error_set(
            err, E_CONFIG,
            "%s: the certificate is not for a %s (its key usage, or extended key usage, "
            "lacks that)",
            file->path, use == TLS_SERVER ? "server" : "client");
    return 0;
}

int tls_check_pair(const struct tls_file *chain, const struct tls_file *key, enum tls_use use,
                   int64_t wall_ms, struct tls_warning *ret_warning, struct error *err)
{
    struct chain certificates;
    EVP_PKEY *private_key = NULL;
    int rc;

    ret_warning->text[0] = 0;
    rc = read_chain(chain, wall_ms, &certificates, ret_warning, err);
    if (rc != 0)
        return rc;
    rc = tls_files_read_key(key, &private_key, err);
    if (rc == 0 && X509_check_private_key(certificates.first, private_key) != 1)
        rc = error_set(err, E_CONFIG,
                       "%s and %s do not match: the key is not that of the first certificate",
                       chain->path, key->path);
    if (rc == 0)
        rc = check_use(chain, certificates.first, use, err);
    ERR_clear_error();
    EVP_PKEY_free(private_key);
    X509_free(certificates.first);
    return rc;
}

int tls_check_authorities(const struct tls_file *file, int64_t wall_ms,
                          struct tls_warning *ret_warning, struct error *err)
{
    struct chain certificates;
    int rc;

    ret_warning->text[0] = 0;
    rc = read_chain(file, wall_ms, &certificates, ret_warning, err);
    if (rc != 0)
        return rc;
    X509_free(certificates.first);
    if (certificates.n_valid > 0)
        ret_warning->text[0] = 0; /* one that is good is enough */
    return 0;
}
