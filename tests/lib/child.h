/* child.h - fork() for tests.
 *
 * cmocka answers SIGSEGV and its like by jumping back into the test: a child that has inherited
 * that goes on as a second parent, and its crash is nobody's. A child of child_fork() dies of what
 * it does wrong, and does not outlive the thread that made it.
 */
#ifndef RS_TESTS_CHILD_H
#define RS_TESTS_CHILD_H

#include <sys/types.h>

/* As fork(). */
pid_t child_fork(void);

#endif
