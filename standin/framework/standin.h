/* A stand-in for AppleNeuralEngine and IOSurface: what the parts share. */

#import <Foundation/Foundation.h>
#include <stddef.h>

/* The software engine, behind `standin/engine`. */
struct Program;
struct Program *standin_compile(const unsigned char *text, size_t text_bytes, const char *const *paths,
                                const unsigned char *const *files, const size_t *sizes, size_t count, char *message,
                                size_t room);
size_t standin_count(const struct Program *program, size_t side);
size_t standin_bytes(const struct Program *program, size_t side, size_t slot);
int standin_run(const struct Program *program, const void *const *inputs, void *const *outputs);
void standin_free(struct Program *program);

/* Things that are counted while they live. */
enum Thing { DESCRIPTORS, MODELS, LOADED, REQUESTS, SURFACE_OBJECTS, IOSURFACES, COMPILING, THINGS };
void standin_born(enum Thing thing);
void standin_died(enum Thing thing);

/* Whether `call` is to fail now: see `standin_fault`. */
BOOL standin_fails(const char *call);

/* For tests: `call` is to fail `times` times, after `skip` calls that do not. Also `STANDIN_FAULT=call=times`, in
   processes that find the file `STANDIN_FAULT_IF`, and in the first alone that removes `STANDIN_FAULT_ONCE`. */
void standin_fault(const char *call, int skip, int times);
/* For tests: how many live, by the names of `enum Thing` in lower case; -1 for an unknown name. */
long standin_live(const char *thing);
/* For tests: how many programs may be compiled from now on. Also `STANDIN_COMPILES=n`. */
void standin_compiles(int count);
/* For tests: after a refusal the compiler is to be left alone for so long, or it refuses everything until this is called
   again; 0 for never. */
void standin_wedge(int milliseconds);
/* Whether the compiler was asked too soon after a refusal, now or before. */
BOOL standin_is_wedged(void);
/* A program was refused. */
void standin_refused(void);
/* For tests: compiling waits (`on` is not 0), or goes on. */
void standin_hold(int on);
/* Waits as long as it is to be so, a minute at most. */
void standin_wait(void);
/* Counts a compile; NO if there were too many. */
BOOL standin_may_compile(void);

/* An IOSurface: Apple's is an object too. */
@interface StandInSurface : NSObject {
  @public
    void *base;
    size_t size;
    int locks;
}
@end
