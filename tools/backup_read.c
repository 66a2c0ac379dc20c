/* backup_read.c - recognising and listing a backup; see backup.h. */
#include "tools/backup.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "store/files.h"

bool backup_is(const char *dir)
{
    char path[PATH_MAX];

    return files_join(path, dir, BACKUP_MARKER, NULL) == 0 && access(path, F_OK) == 0;
}

static int check_marker(const char *dir, struct error *err)
{
    const size_t expected = strlen(BACKUP_MARKER_TEXT);
    char text[sizeof(BACKUP_MARKER_TEXT)];
    size_t size = 0;
    int rc = files_read(dir, BACKUP_MARKER, text, sizeof(text), &size, err);

    if (rc != 0 && rc != E_TOO_LARGE)
        return rc;
    if (rc == 0 && size == expected && memcmp(text, BACKUP_MARKER_TEXT, expected) == 0)
        return 0;
    return error_set(err, E_FORMAT, "%s is a backup of another version of realmctl", dir);
}

static int add_source(struct tool_sources *sources, const char *region, struct error *err)
{
    struct tool_source *source = &sources->items[sources->n];

    if (sources->n == STATUS_SLOTS)
        return error_set(err, E_CORRUPT, "a backup holds at most %d sources", STATUS_SLOTS);
    memcpy(source->region, region, strlen(region) + 1);
    source->backup = true;
    source->generation.number = GENERATION_OF_BACKUP;
    sources->n++;
    return 0;
}

int backup_list(const char *dir, struct tool_sources *ret, struct error *err)
{
    struct dirent *entry;
    DIR *list;
    int rc = check_marker(dir, err);

    ret->n = 0;
    if (rc != 0)
        return rc;
    list = opendir(dir);
    if (list == NULL)
        return error_set_errno(err, errno, "cannot list %s", dir);
    while (rc == 0 && (entry = readdir(list)) != NULL) {
        if (layout_region_valid(entry->d_name))
            rc = add_source(ret, entry->d_name, err);
    }
    (void)closedir(list); /* nothing was written */
    return rc;
}
