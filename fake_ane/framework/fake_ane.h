/* A fake of AppleNeuralEngine and IOSurface: what the parts share. */

#import <Foundation/Foundation.h>
#include <stddef.h>

/* The software engine, behind `fake_ane/engine`. */
struct Program;
struct Program *fake_ane_compile(const unsigned char *text, size_t text_bytes, const char *const *paths,
                                const unsigned char *const *files, const size_t *sizes, size_t count, char *message,
                                size_t room);
size_t fake_ane_count(const struct Program *program, size_t side);
size_t fake_ane_bytes(const struct Program *program, size_t side, size_t slot);
int fake_ane_run(const struct Program *program, const void *const *inputs, void *const *outputs);
void fake_ane_free(struct Program *program);

/* Things that are counted while they live. */
enum Thing { DESCRIPTORS, MODELS, LOADED, REQUESTS, SURFACE_OBJECTS, IOSURFACES, COMPILING, THINGS };
void fake_ane_born(enum Thing thing);
void fake_ane_died(enum Thing thing);

/* Whether `call` is to fail now: see `fake_ane_fault`. */
BOOL fake_ane_fails(const char *call);

/* For tests: `call` is to fail `times` times, after `skip` calls that do not. Also `FAKE_ANE_FAULT=call=times`, in
   processes that find the file `FAKE_ANE_FAULT_IF`, and in the first alone that removes `FAKE_ANE_FAULT_ONCE`. */
void fake_ane_fault(const char *call, int skip, int times);
/* For tests: how many live, by the names of `enum Thing` in lower case; -1 for an unknown name. */
long fake_ane_live(const char *thing);
/* For tests: how many programs may be compiled from now on. Also `FAKE_ANE_COMPILES=n`. */
void fake_ane_compiles(int count);
/* For tests: after a refusal the compiler is to be left alone for so long, or it refuses everything until this is called
   again; 0 for never. */
void fake_ane_wedge(int milliseconds);
/* Whether the compiler was asked too soon after a refusal, now or before. */
BOOL fake_ane_is_wedged(void);
/* A program was refused. */
void fake_ane_refused(void);
/* For tests: compiling waits (`on` is not 0), or goes on. */
void fake_ane_hold(int on);
/* Waits as long as it is to be so, a minute at most. */
void fake_ane_wait(void);
/* Counts a compile; NO if there were too many. */
BOOL fake_ane_may_compile(void);

/* An IOSurface: Apple's is an object too. */
@interface FakeSurface : NSObject {
  @public
    void *base;
    size_t size;
    int locks;
}
@end
