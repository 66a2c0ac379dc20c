/* The agent's configuration file: read, or refused with a message. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char *const environment[] = {NULL};
    struct config *config = NULL;
    struct error err = ERROR_INIT;
    char path[64];
    int fd = memfd_create("config", MFD_CLOEXEC);

    FUZZ_REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    FUZZ_REQUIRE(config_load(path, environment, &config, &err) == 0 ? config != NULL
                                                                    : err.message[0] != 0);
    config_free(config);
    (void)close(fd);
    return 0;
}
