/* print_states.c - prints docs/states.md from the tables in the code: `make states`. */
#include "tests/lib/machines.h"

int main(void)
{
    machines_print(stdout);
    return 0;
}
