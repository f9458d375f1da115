/*
 * A fake of AppleNeuralEngine: the classes and methods that the back end calls, doing what is said of Apple's.
 *
 * This file is the one place for that claim. Nothing here was seen on a Mac by us: each behaviour names who reports it,
 * by the rule of `backpropane mil rules` or the project. Tests against it show that our code agrees with the claim and
 * handles results, errors and ownership; they never show that Apple's framework is so.
 *
 * Variants for tests: FAKE_ANE_WRONG_TYPE gives a method another argument type, FAKE_ANE_NO_METHOD takes one away,
 * FAKE_ANE_NO_CLASS takes a class away.
 */

#import "fake_ane.h"
#include <string.h>

/* The smallest surface, in bytes. Source: rule S4. */
enum { MIN_BYTES = 49152 };

static NSString *const COMPILER = @"com.apple.appleneuralengine.compiler";
static NSString *const ENGINE = @"com.apple.appleneuralengine";

static BOOL refuse(NSError **error, NSString *domain, NSInteger code, NSString *text)
{
    if (error)
        *error = [NSError errorWithDomain:domain
                                     code:code
                                 userInfo:[NSDictionary dictionaryWithObject:text forKey:NSLocalizedDescriptionKey]];
    return NO;
}

static BOOL not_compiled(NSError **error, NSString *text)
{
    fake_ane_refused();
    return refuse(error, COMPILER, 1, text);
}

/* Source: `maderix/ANE` and Orion: domain, code 8, and the status for what does not fit. */
static BOOL misfit(NSError **error, NSString *why)
{
    return refuse(error, ENGINE, 8,
                  [NSString stringWithFormat:@"ANEProgramProcessRequestDirect() Failed with status=0x1d : "
                                             @"statusType=0x9: Program Inference error (fake engine: %@)",
                                             why]);
}

/* Any hash does: Apple's is said to be SHA-256. */
static unsigned long long hash(unsigned long long state, const void *bytes, size_t count)
{
    const unsigned char *p = bytes;
    while (count--)
        state = (state ^ *p++) * 1099511628211ULL;
    return state;
}

static const unsigned long long SEED = 14695981039346656037ULL;

@interface _ANEInMemoryModelDescriptor : NSObject {
  @public
    NSData *text;
    NSDictionary *weights;
}
+ (id)modelWithMILText:(NSData *)milText weights:(NSDictionary *)files optionsPlist:(id)options;
@end

@implementation _ANEInMemoryModelDescriptor
/* Text as data and not as a string: rule W1; a dictionary, which may be empty: rule W2. */
+ (id)modelWithMILText:(NSData *)milText weights:(NSDictionary *)files optionsPlist:(id)options
{
    if (options || ![milText isKindOfClass:[NSData class]] || ![files isKindOfClass:[NSDictionary class]]
        || fake_ane_fails("descriptor"))
        return nil;
    _ANEInMemoryModelDescriptor *made = [[self alloc] init];
    fake_ane_born(DESCRIPTORS);
    made->text = [milText retain];
    made->weights = [files retain];
    return [made autorelease];
}

- (void)dealloc
{
    [text release];
    [weights release];
    fake_ane_died(DESCRIPTORS);
    [super dealloc];
}
@end

@interface _ANEIOSurfaceObject : NSObject {
  @public
    FakeSurface *surface;
}
+ (id)objectWithIOSurface:(struct __IOSurface *)surface;
@end

@implementation _ANEIOSurfaceObject
+ (id)objectWithIOSurface:(struct __IOSurface *)surface
{
    if (!surface || fake_ane_fails("surface"))
        return nil;
    _ANEIOSurfaceObject *made = [[self alloc] init];
    fake_ane_born(SURFACE_OBJECTS);
    made->surface = [(FakeSurface *)surface retain];
    return [made autorelease];
}

- (void)dealloc
{
    [surface release];
    fake_ane_died(SURFACE_OBJECTS);
    [super dealloc];
}
@end

#ifndef FAKE_ANE_NO_CLASS
@interface _ANERequest : NSObject {
  @public
    NSArray *sides[2];
    NSArray *indices[2];
}
+ (id)requestWithInputs:(NSArray *)inputs
           inputIndices:(NSArray *)inputIndices
                outputs:(NSArray *)outputs
          outputIndices:(NSArray *)outputIndices
          weightsBuffer:(id)buffer
              perfStats:(id)stats
         procedureIndex:(NSNumber *)procedure;
@end

@implementation _ANERequest
+ (id)requestWithInputs:(NSArray *)inputs
           inputIndices:(NSArray *)inputIndices
                outputs:(NSArray *)outputs
          outputIndices:(NSArray *)outputIndices
          weightsBuffer:(id)buffer
              perfStats:(id)stats
         procedureIndex:(NSNumber *)procedure
{
    if (buffer || stats || [procedure intValue] != 0 || fake_ane_fails("request"))
        return nil;
    _ANERequest *made = [[self alloc] init];
    fake_ane_born(REQUESTS);
    made->sides[0] = [inputs copy];
    made->indices[0] = [inputIndices copy];
    made->sides[1] = [outputs copy];
    made->indices[1] = [outputIndices copy];
    return [made autorelease];
}

- (void)dealloc
{
    for (int side = 0; side < 2; side++) {
        [sides[side] release];
        [indices[side] release];
    }
    fake_ane_died(REQUESTS);
    [super dealloc];
}
@end
#else
@interface FakeRequest : NSObject {
  @public
    NSArray *sides[2];
    NSArray *indices[2];
}
@end
@implementation FakeRequest
@end
#define _ANERequest FakeRequest
#endif

@interface _ANEInMemoryModel : NSObject {
    _ANEInMemoryModelDescriptor *descriptor;
    struct Program *program;
    BOOL loaded;
}
@end

@implementation _ANEInMemoryModel
+ (id)inMemoryModelWithDescriptor:(_ANEInMemoryModelDescriptor *)given
{
    if (![given isKindOfClass:[_ANEInMemoryModelDescriptor class]] || fake_ane_fails("model"))
        return nil;
    _ANEInMemoryModel *made = [[self alloc] init];
    fake_ane_born(MODELS);
    made->descriptor = [given retain];
    return [made autorelease];
}

/* Of text, options and weights, so equal programs have equal names. Source: `maderix/ANE` issue 24, Orion. */
- (NSString *)hexStringIdentifier
{
    if (fake_ane_fails("identifier"))
        return nil;
    unsigned long long of_text = hash(SEED, [descriptor->text bytes], [descriptor->text length]);
    unsigned long long of_weights = SEED;
    for (NSString *path in [[descriptor->weights allKeys] sortedArrayUsingSelector:@selector(compare:)]) {
        NSData *data = [[descriptor->weights objectForKey:path] objectForKey:@"data"];
        const char *name = [path UTF8String];
        of_weights = hash(hash(of_weights, name, strlen(name) + 1), [data bytes], [data length]);
    }
    return [NSString stringWithFormat:@"%016llX_%016llX_%016llX", of_text, SEED, of_weights];
}

- (NSString *)folder
{
    return [NSTemporaryDirectory() stringByAppendingPathComponent:[self hexStringIdentifier]];
}

/* The files are looked for before compiling. Source: rule W4. */
- (NSString *)missingFile
{
    NSString *folder = [self folder];
    NSString *path = [folder stringByAppendingPathComponent:@"model.mil"];
    if (![descriptor->text isEqual:[NSData dataWithContentsOfFile:path]])
        return @"model.mil";
    for (NSString *key in descriptor->weights) {
        NSDictionary *file = [descriptor->weights objectForKey:key];
        if (![key hasPrefix:@"@model_path/"] || ![[file objectForKey:@"offset"] isKindOfClass:[NSNumber class]])
            return key;
        NSString *name = [key substringFromIndex:[@"@model_path/" length]];
        path = [folder stringByAppendingPathComponent:name];
        if (![[file objectForKey:@"data"] isEqual:[NSData dataWithContentsOfFile:path]])
            return name;
    }
    return nil;
}

- (BOOL)compiledWithQoS:(unsigned int)qos options:(NSDictionary *)options error:(NSError **)error
{
    /* After about 119 programs compiling fails and says nothing: rule W6. */
    if (!fake_ane_may_compile())
        return NO;
    /* Asked again too soon after a refusal, the service may wedge: rule W7. */
    if (fake_ane_is_wedged())
        return not_compiled(error, @"_ANECompiler : the compiler service is wedged (fake engine)");
    if (fake_ane_fails("compile") || !options || qos > 63)
        return not_compiled(error, @"_ANECompiler : ANECCompile() FAILED: err=(CompilationFailure)");
    NSString *missing = [self missingFile];
    if (missing)
        return not_compiled(error, [NSString stringWithFormat:@"_ANECompiler : ANECCompile() FAILED: InvalidMILProgram "
                                                              @"(fake engine: %@ is not in the folder as it was described)",
                                                              missing]);
    NSUInteger count = [descriptor->weights count], i = 0;
    const char *paths[count + 1];
    const unsigned char *files[count + 1];
    size_t sizes[count + 1];
    for (NSString *key in descriptor->weights) {
        NSData *data = [[descriptor->weights objectForKey:key] objectForKey:@"data"];
        paths[i] = [key UTF8String];
        files[i] = [data bytes];
        sizes[i++] = [data length];
    }
    char message[512];
    if (program)
        fake_ane_free(program);
    program = fake_ane_compile([descriptor->text bytes], [descriptor->text length], paths, files, sizes, count, message,
                              sizeof message);
    if (!program)
        return not_compiled(error, [NSString stringWithFormat:@"_ANECompiler : ANECCompile() FAILED: InvalidMILProgram "
                                                              @"(fake engine: %s)",
                                                              message]);
    /* What is there afterwards. Source: `maderix/ANE` pull request 22. */
    NSData *nothing = [NSData data];
    [nothing writeToFile:[[self folder] stringByAppendingPathComponent:@"net.plist"] atomically:NO];
    if (count)
        [nothing writeToFile:[[self folder] stringByAppendingPathComponent:@"data"] atomically:NO];
    return YES;
}

- (BOOL)compileWithQoS:(unsigned int)qos options:(NSDictionary *)options error:(NSError **)error
{
    fake_ane_born(COMPILING);
    fake_ane_wait();
    BOOL done = [self compiledWithQoS:qos options:options error:error];
    fake_ane_died(COMPILING);
    return done;
}

/* Loading needs the folder still: rule W16. */
- (BOOL)loadWithQoS:(unsigned int)qos options:(NSDictionary *)options error:(NSError **)error
{
    NSString *plist = [[self folder] stringByAppendingPathComponent:@"net.plist"];
    BOOL there = [[NSFileManager defaultManager] fileExistsAtPath:plist];
    if (fake_ane_fails("load") || !options || qos > 63 || !program || !there || loaded)
        return refuse(error, ENGINE, 6, @"Program load failure (0x20004)");
    loaded = YES;
    fake_ane_born(LOADED);
    return YES;
}

/* One side's memory: sizes equal and sufficient (rules S3, S4, S6), in alphabetical order of names (rule S1). */
- (NSString *)bind:(NSArray *)surfaces indices:(NSArray *)indices side:(size_t)side memory:(void **)memory
{
    NSUInteger count = fake_ane_count(program, side);
    if ([surfaces count] != count || [indices count] != count)
        return @"another number of surfaces";
    for (NSUInteger i = 0; i < count; i++) {
        FakeSurface *surface = ((_ANEIOSurfaceObject *)[surfaces objectAtIndex:i])->surface;
        NSUInteger slot = [[indices objectAtIndex:i] unsignedIntegerValue];
        size_t first = ((_ANEIOSurfaceObject *)[surfaces objectAtIndex:0])->surface->size;
        size_t bytes = slot < count ? fake_ane_bytes(program, side, slot) : 0;
        if (bytes == 0)
            return @"a slot that is not there, or of a width that fails";
        if (surface->size != first || surface->size < MIN_BYTES || surface->size < bytes)
            return @"a surface of a wrong size";
        if (surface->locks != 0)
            return @"a surface that is locked for the processor";
        memory[slot] = surface->base;
    }
    return nil;
}

#ifdef FAKE_ANE_WRONG_TYPE
- (BOOL)evaluateWithQoS:(unsigned long)qos
                options:(NSDictionary *)options
                request:(_ANERequest *)request
                  error:(NSError **)error
#else
- (BOOL)evaluateWithQoS:(unsigned int)qos
                options:(NSDictionary *)options
                request:(_ANERequest *)request
                  error:(NSError **)error
#endif
{
    if (fake_ane_fails("evaluate-silently"))
        return NO;
    if (fake_ane_fails("evaluate") || !options || qos > 63 || !request)
        return misfit(error, @"a fault that was asked for");
    if (!loaded)
        return misfit(error, @"a program that is not loaded");
    void *from[fake_ane_count(program, 0) + 1], *to[fake_ane_count(program, 1) + 1];
    NSString *problem = [self bind:request->sides[0] indices:request->indices[0] side:0 memory:from];
    if (!problem)
        problem = [self bind:request->sides[1] indices:request->indices[1] side:1 memory:to];
    if (problem)
        return misfit(error, problem);
    if (fake_ane_run(program, (const void *const *)from, to) != 0)
        return misfit(error, @"the software engine stopped");
    return YES;
}

#ifdef FAKE_ANE_NO_METHOD
- (BOOL)unloadWithQoS:(unsigned int)qos options:(NSDictionary *)options error:(NSError **)error
{
    (void)options;
#else
- (BOOL)unloadWithQoS:(unsigned int)qos error:(NSError **)error
{
#endif
    if (fake_ane_fails("unload") || qos > 63 || !loaded)
        return refuse(error, ENGINE, 7, @"Program unload failure");
    loaded = NO;
    fake_ane_died(LOADED);
    return YES;
}

/* A program that was not unloaded stays loaded, and is counted so. */
- (void)dealloc
{
    if (program)
        fake_ane_free(program);
    [descriptor release];
    fake_ane_died(MODELS);
    [super dealloc];
}
@end

@interface _ANEDeviceInfo : NSObject
+ (NSString *)aneSubType;
@end

@implementation _ANEDeviceInfo
+ (NSString *)aneSubType
{
    return @"h0";
}
@end
