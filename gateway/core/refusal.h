/* refusal.h - saying no in the client's language, word for word as Kong does. */
#ifndef GATE_REFUSAL_H
#define GATE_REFUSAL_H

#include "gateway/core/text.h"
#include "gateway/core/verdict.h"

enum gate_format {
    GATE_FORMAT_JSON,
    GATE_FORMAT_HTML,
    GATE_FORMAT_XML,
    GATE_FORMAT_PLAIN,
    GATE_FORMAT_GRPC, /* no body, but headers */
    GATE_FORMATS
};

/* What Accept prefers so far: the media range of the highest quality decides, the first of equals.
 * All zero before the first header. */
struct gate_accept {
    unsigned quality; /* in thousandths */
    enum gate_format format;
};

/* Weighs one Accept header. */
void gate_accept_weigh(struct gate_accept *accept, struct gate_text header);

struct gate_text gate_content_type(enum gate_format format);

/* A refusal: `anonymous` is the name that GATE_NO_ANONYMOUS complains about. */
struct gate_refusal {
    enum gate_verdict verdict;
    enum gate_format format;
    struct gate_text anonymous;
    struct gate_text request_id;
};

/* Writes the body, nothing when `out` is NULL, and gives its size. */
size_t gate_refusal_body(const struct gate_refusal *refusal, char *out);

/* What a gRPC client is told instead: values of grpc-status and grpc-message. */
struct gate_grpc {
    struct gate_text status;
    struct gate_text message;
};
struct gate_grpc gate_grpc_of(enum gate_verdict verdict);

#endif
