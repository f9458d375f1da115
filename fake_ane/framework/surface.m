/* IOSurface: the handful of functions that are used, with the types of Apple's public header IOSurfaceRef.h. */

#import "fake_ane.h"
#include <stdlib.h>
#include <string.h>

NSString *const kIOSurfaceWidth = @"IOSurfaceWidth";
NSString *const kIOSurfaceHeight = @"IOSurfaceHeight";
NSString *const kIOSurfaceBytesPerElement = @"IOSurfaceBytesPerElement";
NSString *const kIOSurfaceBytesPerRow = @"IOSurfaceBytesPerRow";
NSString *const kIOSurfaceAllocSize = @"IOSurfaceAllocSize";
NSString *const kIOSurfacePixelFormat = @"IOSurfacePixelFormat";

/* Apple's memory comes in pages of this many bytes. */
enum { PAGE = 16384 };

@implementation FakeSurface
- (void)dealloc
{
    free(base);
    fake_ane_died(IOSURFACES);
    [super dealloc];
}
@end

struct __IOSurface *IOSurfaceCreate(NSDictionary *properties)
{
    NSUInteger bytes = [[properties objectForKey:kIOSurfaceAllocSize] unsignedIntegerValue];
    /* One row, as `maderix/ANE` makes them. */
    BOOL row = [[properties objectForKey:kIOSurfaceWidth] unsignedIntegerValue] == bytes
        && [[properties objectForKey:kIOSurfaceBytesPerRow] unsignedIntegerValue] == bytes
        && [[properties objectForKey:kIOSurfaceHeight] unsignedIntegerValue] == 1
        && [[properties objectForKey:kIOSurfaceBytesPerElement] unsignedIntegerValue] == 1
        && [[properties objectForKey:kIOSurfacePixelFormat] unsignedIntegerValue] == 0;
    if (!row || bytes == 0 || fake_ane_fails("iosurface"))
        return NULL;
    FakeSurface *surface = [[FakeSurface alloc] init];
    fake_ane_born(IOSURFACES);
    size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
    if (posix_memalign(&surface->base, PAGE, whole) != 0) {
        surface->base = NULL;
        [surface release];
        return NULL;
    }
    /* Nobody is promised zeros. */
    memset(surface->base, 0xa5, whole);
    surface->size = whole;
    return (struct __IOSurface *)surface;
}

int IOSurfaceLock(struct __IOSurface *surface, unsigned options, unsigned *seed)
{
    (void)options;
    (void)seed;
    if (fake_ane_fails("lock"))
        return (int)0xe00002d5;
    __sync_fetch_and_add(&((FakeSurface *)surface)->locks, 1);
    return 0;
}

int IOSurfaceUnlock(struct __IOSurface *surface, unsigned options, unsigned *seed)
{
    (void)options;
    (void)seed;
    return __sync_sub_and_fetch(&((FakeSurface *)surface)->locks, 1) < 0;
}

void *IOSurfaceGetBaseAddress(struct __IOSurface *surface)
{
    return ((FakeSurface *)surface)->base;
}

size_t IOSurfaceGetAllocSize(struct __IOSurface *surface)
{
    return ((FakeSurface *)surface)->size;
}
