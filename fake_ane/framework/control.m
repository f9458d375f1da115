/* What tests ask of the fake engine: faults, counts, limits. */

#import "fake_ane.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long live[THINGS];
static char fault[32];
static int fault_skip, fault_times;
/* Source: rule W6, about 119. */
static int compiles = 119;

__attribute__((constructor)) static void from_environment(void)
{
    const char *count = getenv("FAKE_ANE_COMPILES");
    if (count)
        compiles = atoi(count);
    const char *said = getenv("FAKE_ANE_FAULT");
    const char *sign = said ? strchr(said, '=') : NULL;
    if (sign && (size_t)(sign - said) < sizeof fault) {
        memcpy(fault, said, (size_t)(sign - said));
        fault_times = atoi(sign + 1);
    }
    /* Processes of one run share the environment: the fault is of those that find a file, or of the first that takes
       another away. */
    const char *found = getenv("FAKE_ANE_FAULT_IF");
    const char *once = getenv("FAKE_ANE_FAULT_ONCE");
    if (found && access(found, F_OK) != 0)
        fault_times = 0;
    if (fault_times && once && unlink(once) != 0)
        fault_times = 0;
}

void fake_ane_fault(const char *call, int skip, int times)
{
    pthread_mutex_lock(&mutex);
    strncpy(fault, call, sizeof fault - 1);
    fault_skip = skip;
    fault_times = times;
    pthread_mutex_unlock(&mutex);
}

BOOL fake_ane_fails(const char *call)
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

void fake_ane_compiles(int count)
{
    pthread_mutex_lock(&mutex);
    compiles = count;
    pthread_mutex_unlock(&mutex);
}

BOOL fake_ane_may_compile(void)
{
    pthread_mutex_lock(&mutex);
    BOOL may = compiles > 0;
    if (may)
        compiles--;
    pthread_mutex_unlock(&mutex);
    return may;
}

static int held;
static pthread_cond_t released = PTHREAD_COND_INITIALIZER;

void fake_ane_hold(int on)
{
    pthread_mutex_lock(&mutex);
    held = on;
    pthread_cond_broadcast(&released);
    pthread_mutex_unlock(&mutex);
}

void fake_ane_wait(void)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 60;
    pthread_mutex_lock(&mutex);
    while (held && pthread_cond_timedwait(&released, &mutex, &end) == 0)
        ;
    pthread_mutex_unlock(&mutex);
}

static int wedge_after;
static BOOL wedged;
static struct timespec last_refusal;

void fake_ane_wedge(int milliseconds)
{
    pthread_mutex_lock(&mutex);
    wedge_after = milliseconds;
    wedged = NO;
    last_refusal = (struct timespec){0, 0};
    pthread_mutex_unlock(&mutex);
}

void fake_ane_refused(void)
{
    pthread_mutex_lock(&mutex);
    clock_gettime(CLOCK_MONOTONIC, &last_refusal);
    pthread_mutex_unlock(&mutex);
}

BOOL fake_ane_is_wedged(void)
{
    pthread_mutex_lock(&mutex);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    BOOL refused = last_refusal.tv_sec || last_refusal.tv_nsec;
    long since = (now.tv_sec - last_refusal.tv_sec) * 1000 + (now.tv_nsec - last_refusal.tv_nsec) / 1000000;
    if (wedge_after && refused && since < wedge_after)
        wedged = YES;
    BOOL is = wedged;
    pthread_mutex_unlock(&mutex);
    return is;
}

void fake_ane_born(enum Thing thing)
{
    __sync_fetch_and_add(&live[thing], 1);
}

void fake_ane_died(enum Thing thing)
{
    __sync_fetch_and_sub(&live[thing], 1);
}

long fake_ane_live(const char *thing)
{
    static const char *const names[THINGS] = {"descriptors", "models", "loaded", "requests", "surface_objects",
                                              "iosurfaces", "compiling"};
    for (int i = 0; i < THINGS; i++)
        if (strcmp(thing, names[i]) == 0)
            return __sync_fetch_and_add(&live[i], 0);
    return -1;
}
