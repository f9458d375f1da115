/* What tests ask of the stand-in: faults, counts, limits. */

#import "standin.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long live[THINGS];
static char fault[32];
static int fault_skip, fault_times;
/* Source: rule W6, about 119. */
static int compiles = 119;

__attribute__((constructor)) static void from_environment(void)
{
    const char *count = getenv("STANDIN_COMPILES");
    if (count)
        compiles = atoi(count);
    const char *said = getenv("STANDIN_FAULT");
    const char *sign = said ? strchr(said, '=') : NULL;
    if (sign && (size_t)(sign - said) < sizeof fault) {
        memcpy(fault, said, (size_t)(sign - said));
        fault_times = atoi(sign + 1);
    }
    /* Processes of one run share the environment: the fault is of those that find a file, or of the first that takes
       another away. */
    const char *found = getenv("STANDIN_FAULT_IF");
    const char *once = getenv("STANDIN_FAULT_ONCE");
    if (found && access(found, F_OK) != 0)
        fault_times = 0;
    if (fault_times && once && unlink(once) != 0)
        fault_times = 0;
}

void standin_fault(const char *call, int skip, int times)
{
    pthread_mutex_lock(&mutex);
    strncpy(fault, call, sizeof fault - 1);
    fault_skip = skip;
    fault_times = times;
    pthread_mutex_unlock(&mutex);
}

BOOL standin_fails(const char *call)
{
    BOOL fails = NO;
    pthread_mutex_lock(&mutex);
    if (fault_times > 0 && strcmp(call, fault) == 0) {
        if (fault_skip > 0) {
            fault_skip--;
        } else {
            fault_times--;
            fails = YES;
        }
    }
    pthread_mutex_unlock(&mutex);
    return fails;
}

void standin_compiles(int count)
{
    pthread_mutex_lock(&mutex);
    compiles = count;
    pthread_mutex_unlock(&mutex);
}

BOOL standin_may_compile(void)
{
    pthread_mutex_lock(&mutex);
    BOOL may = compiles > 0;
    if (may)
        compiles--;
    pthread_mutex_unlock(&mutex);
    return may;
}

void standin_born(enum Thing thing)
{
    __sync_fetch_and_add(&live[thing], 1);
}

void standin_died(enum Thing thing)
{
    __sync_fetch_and_sub(&live[thing], 1);
}

long standin_live(const char *thing)
{
    static const char *const names[THINGS] = {"descriptors", "models", "loaded", "requests", "surface_objects",
                                              "iosurfaces"};
    for (int i = 0; i < THINGS; i++)
        if (strcmp(thing, names[i]) == 0)
            return __sync_fetch_and_add(&live[i], 0);
    return -1;
}
