/* machines.h - every state machine that the project has as a table, as one document. */
#ifndef RS_TESTS_MACHINES_H
#define RS_TESTS_MACHINES_H

#include <stdio.h>

/* docs/states.md, whole. */
void machines_print(FILE *to);

#endif
