/* tls.h - realm-control's TLS files, read into memory and checked before anything runs with
 * them. */
#ifndef RS_CONTROL_TLS_H
#define RS_CONTROL_TLS_H

#include "base/tls_files.h"
#include "control/config.h"

/* PEM texts, owned; NULL where the configuration names no file. */
struct control_tls {
    char *cert;
    char *key;
    char *client_ca;
    struct tls_warning warnings[2]; /* of the chain, of the authorities; "": nothing to say */
};

/* E_CONFIG when they are not what they should be; on failure too, control_tls_finish() follows. */
int control_tls_read(const struct control_config *config, struct control_tls *ret,
                     struct error *err);
void control_tls_finish(struct control_tls *tls); /* wipes the key */

#endif
