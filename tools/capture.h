/* capture.h - holding back what is printed until it is known to be right.
 *
 * A walk without reader slots may turn out to be void when half of it was printed already. So
 * standard output goes to memory meanwhile, and to its place, or nowhere, at the end.
 */
#ifndef RS_TOOLS_CAPTURE_H
#define RS_TOOLS_CAPTURE_H

#include <stdbool.h>

#include "base/error.h"

struct capture {
    int memory; /* a memfd; -1: nothing is captured */
    int output; /* where standard output went before */
};

#define CAPTURE_INIT                                                                               \
    {                                                                                              \
        -1, -1                                                                                     \
    }

int capture_begin(struct capture *capture, struct error *err);
/* Restores standard output, and prints there what was captured if `keep`. Not begun: no effect. */
int capture_end(struct capture *capture, bool keep, struct error *err);

#endif
