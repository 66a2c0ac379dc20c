/* fault_proxy - the fault proxy as a program for tests that drive real daemons.
 *
 *     fault_proxy PORT     connects to 127.0.0.1:PORT
 *
 * Prints "listening on http://127.0.0.1:N", then answers each line of its standard input (a command
 * of tests/lib/fault_proxy.h, or "hits") with a line: "ok", "ok N" or "no". Ends with its input.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/fault_proxy.h"

int main(int argc, char **argv)
{
    struct fault_proxy *proxy;
    char line[1024];

    if (argc != 2)
        return 1;
    proxy = fault_proxy_start((uint16_t)strtoul(argv[1], NULL, 10), NULL, NULL);
    printf("listening on %s\n", fault_proxy_url(proxy));
    (void)fflush(stdout);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        line[strcspn(line, "\n")] = 0;
        if (strcmp(line, "hits") == 0)
            printf("ok %u\n", fault_proxy_hits(proxy));
        else
            puts(fault_proxy_command(proxy, line) == 0 ? "ok" : "no");
        (void)fflush(stdout);
    }
    fault_proxy_stop(proxy);
    return 0;
}
