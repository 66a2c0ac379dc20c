/* process.h - what every program of ours does before anything else.
 *
 * Call these first in main(), before a file is opened, a thread started or a secret read.
 */
#ifndef RS_BASE_PROCESS_H
#define RS_BASE_PROCESS_H

/* Takes descriptors 0 to 2 where they are closed, so that no file of ours becomes one of them and
 * gets what is meant for a terminal: a log line over a database. What stands there then fails with
 * EBADF when it is used, as the closed one would have. Ends the process when it cannot. */
void process_open_standard(void);

/* For a daemon: the above, and
 *
 * - a peer that went away is an error of one write (SIGPIPE);
 * - SIGHUP, SIGUSR1 and SIGUSR2 do nothing until the program says what they do: a reload that comes
 *   a moment too early, or a signal that is meant for the other daemon, ends nothing;
 * - no core file and no other process of the same user gets to see its memory, which holds secrets
 *   (PR_SET_DUMPABLE; REALMSTORE_DUMPABLE=1 in the environment leaves it, for a debugger). */
void process_begin_daemon(void);

#endif
