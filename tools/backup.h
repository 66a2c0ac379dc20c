/* backup.h - the form of a backup, which realmctl backup writes and the other commands read.
 *
 *     DIR/backup.format     "realmstore-backup 1" and a newline; written last: the backup is whole
 *     DIR/REGION/data.mdb   a compacted copy of the source's tables
 *
 * Nobody writes to it any more, so that it is read without locks and needs no lock file.
 */
#ifndef RS_TOOLS_BACKUP_H
#define RS_TOOLS_BACKUP_H

#include <stdbool.h>

#include "tools/sources.h"

/* No region has a dot in its name. */
#define BACKUP_MARKER      "backup.format"
#define BACKUP_MARKER_TEXT "realmstore-backup 1\n"

/* DIR/backup.format is there: it is a backup, though perhaps of another format. */
bool backup_is(const char *dir);
/* Lists the sources of a backup by region, for source_view_open(). E_FORMAT: another version wrote
 * it. */
int backup_list(const char *dir, struct tool_sources *ret, struct error *err);

#endif
