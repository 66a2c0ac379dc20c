/* patience.h - an end to waits that others can make endless.
 *
 * Taking a reader slot goes through a mutex in lock.mdb, which every member of the reader group can
 * lock and keep. LMDB cannot be told to give up, so the command ends instead, and says why.
 */
#ifndef RS_TOOLS_PATIENCE_H
#define RS_TOOLS_PATIENCE_H

/* From here to patience_end() a wait ends the process with TOOL_UNKNOWN after 10 s. */
void patience_begin(void);
void patience_end(void);

#endif
