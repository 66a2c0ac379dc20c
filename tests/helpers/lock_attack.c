/* lock_attack.c - what a member of the reader group may do to a store's lock.mdb: holds LMDB's
 * mutexes, or writes over the page with them and the slots.
 *
 *   lock_attack lock|scribble FILE
 *
 * Says "done", and stays until its input ends: a mutex is robust, and would go with the process.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of LMDB's MDB_txninfo, on 64 bits: the reader table's mutex and the writer's. */
enum { PAGE = 4096, READERS_MUTEX_AT = 8, WRITER_MUTEX_AT = 64 };

static int lock(unsigned char *map, size_t at)
{
    return pthread_mutex_lock((pthread_mutex_t *)(void *)(map + at));
}

static int attack(const char *how, unsigned char *map)
{
    if (strcmp(how, "lock") == 0)
        return lock(map, READERS_MUTEX_AT) | lock(map, WRITER_MUTEX_AT);
    (void)memset(map, 0xa5, PAGE);
    return strcmp(how, "scribble");
}

int main(int argc, char **argv)
{
    int fd = argc == 3 ? open(argv[2], O_RDWR | O_CLOEXEC) : -1;
    void *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char byte;

    if (fd < 0 || map == MAP_FAILED || attack(argv[1], map) != 0) {
        (void)fprintf(stderr, "usage: lock_attack lock|scribble FILE; it cannot\n");
        return 1;
    }
    (void)puts("done");
    (void)fflush(stdout);
    return read(STDIN_FILENO, &byte, 1) != 0;
}
