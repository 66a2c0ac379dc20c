/* instance.c - which host the store directory makes its agent: a random id that stays with it.
 *
 * `instance.id` holds the id and a digest of the place it was made for: the machine's id and the
 * directory's inode number. Where the place is another one, the directory is a copy (an image, a
 * restored backup, `cp -a`), and its agent is another host than the one that it was copied from.
 * Device number and boot id are left out: they change while the directory stays.
 *
 * Whatever is wrong with the file, a new id is as good: the control plane then sees a new host. So
 * nothing here keeps an agent from running but a system without randomness.
 */
#include "store/source_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/hex.h"
#include "store/bytes.h"
#include "store/files.h"

/* No region has such a name: it has a dot. */
static const char file_name[] = "instance.id";

static const char heading[] = "realmstore instance 1\n";
static const char place_domain[] = "realmstore instance place 1";
static const char no_machine[] = "";

enum {
    MACHINE_DIGITS = 32,
    /* heading, "id UUID\n", "place DIGEST\n", NUL */
    TEXT_SIZE = sizeof(heading) + sizeof("id \n") + UUID_TEXT_SIZE + sizeof("place \n") +
                2 * DIGEST_BYTES + 1
};

/* ---- the place ---- */

/* The id of machine-id(5); empty where there is none (containers), or not yet ("uninitialized"). */
static const char *read_machine(const char *path, char text[MACHINE_DIGITS + 1])
{
    uint8_t ignored[MACHINE_DIGITS / 2];
    ssize_t size;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return no_machine;
    size = read(fd, text, MACHINE_DIGITS);
    (void)close(fd); /* only read from */
    if (size != MACHINE_DIGITS || !hex_decode(text, MACHINE_DIGITS, ignored))
        return no_machine;
    text[MACHINE_DIGITS] = 0;
    return text;
}

static int digest_place(const char *dir, const char *machine_id_file, uint8_t ret[DIGEST_BYTES],
                        struct error *err)
{
    char text[MACHINE_DIGITS + 1];
    unsigned char inode[sizeof(uint64_t)];
    struct digest_stream stream;
    const char *machine = read_machine(machine_id_file, text);
    struct stat status;

    if (stat(dir, &status) != 0)
        return error_set_errno(err, errno, "cannot look at %s", dir);
    bytes_put_u64(inode, status.st_ino);
    digest_stream_init(&stream);
    digest_stream_add(&stream, place_domain, sizeof(place_domain));
    digest_stream_add(&stream, machine, strlen(machine) + 1);
    digest_stream_add(&stream, inode, sizeof(inode));
    digest_stream_end(&stream, ret);
    return 0;
}

/* ---- the file ---- */

struct content {
    struct uuid id;
    uint8_t place[DIGEST_BYTES];
};

static size_t format(const struct content *content, char text[TEXT_SIZE])
{
    char id[UUID_TEXT_SIZE];
    char place[2 * DIGEST_BYTES + 1];

    hex_encode(content->place, DIGEST_BYTES, place);
    return (size_t)snprintf(text, TEXT_SIZE, "%sid %s\nplace %s\n", heading,
                            uuid_format(&content->id, id), place); /* fits */
}

/* Takes what format() writes and nothing else. */
static bool parse(const char *text, size_t size, struct content *ret)
{
    static const size_t id_at = sizeof(heading) - 1 + 3;
    static const size_t place_at = sizeof(heading) - 1 + 3 + UUID_TEXT_SIZE + 6;
    char again[TEXT_SIZE];

    return size == place_at + 2 * DIGEST_BYTES + 1 &&
           uuid_parse_n(text + id_at, UUID_TEXT_SIZE - 1, &ret->id) && !uuid_is_nil(&ret->id) &&
           hex_decode(text + place_at, 2 * DIGEST_BYTES, ret->place) &&
           format(ret, again) == size && memcmp(text, again, size) == 0;
}

/* `err` says what is wrong when it is STORE_INSTANCE_ODD. */
static enum store_instance_news read_file(const struct store *store,
                                          const uint8_t place[DIGEST_BYTES], struct uuid *ret,
                                          struct error *err)
{
    char text[TEXT_SIZE];
    struct content content;
    size_t size = 0;
    int rc = files_read(store->dir, file_name, text, sizeof(text), &size, err);

    if (rc == E_NOT_FOUND)
        return STORE_INSTANCE_NEW;
    if (rc != 0)
        return STORE_INSTANCE_ODD;
    if (!parse(text, size, &content)) {
        (void)error_set(err, E_CORRUPT, "%s/%s is not what an agent writes", store->dir, file_name);
        return STORE_INSTANCE_ODD;
    }
    if (memcmp(content.place, place, DIGEST_BYTES) != 0)
        return STORE_INSTANCE_COPIED;
    *ret = content.id;
    return STORE_INSTANCE_KEPT;
}

static int write_file(const struct store *store, const struct content *content, struct error *err)
{
    char text[TEXT_SIZE];
    size_t size = format(content, text);

    return files_write(store->dir, file_name, text, size, store->gid, err);
}

int store_instance(const struct store *store, const char *machine_id_file,
                   struct store_instance *ret, struct error *err)
{
    struct content content;
    int rc = digest_place(store->dir, machine_id_file != NULL ? machine_id_file : "/etc/machine-id",
                          content.place, err);

    *ret = (struct store_instance){.unkept = ERROR_INIT};
    if (rc != 0)
        return rc;
    ret->news = read_file(store, content.place, &ret->id, &ret->odd);
    if (ret->news == STORE_INSTANCE_KEPT)
        return 0;
    rc = uuid_random(&content.id);
    if (rc != 0)
        return error_set(err, rc, "the system has no randomness");
    ret->id = content.id;
    (void)write_file(store, &content, &ret->unkept);
    return 0;
}
