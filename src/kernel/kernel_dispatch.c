/*-------------------------------------------------------------------------
 *
 * kernel_dispatch.c
 *	  Which level this processor can run, and which one is in use.
 *
 * The processor is asked with CPUID, not with __builtin_cpu_supports, whose
 * list of names depends on the compiler's age (f16c: gcc 11).
 *
 *-------------------------------------------------------------------------
 */
#include "kernel/kernel_private.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* Usable before kernel_init(), too: a constant initialiser, no constructor. */
const KernelTable *kernel = &kernel_scalar_table;

#if defined(__x86_64__)

/* Register state the operating system saves: XCR0. */
#define XCR0_AVX		0x06	/* XMM and YMM */
#define XCR0_AVX512		0xe6	/* and opmask, both halves of ZMM */

/* CPUID leaf 1, ECX: FMA, OSXSAVE, AVX, F16C */
#define LEAF1_ECX_AVX2	((1u << 12) | (1u << 27) | (1u << 28) | (1u << 29))

/* CPUID leaf 7, EBX: AVX2; AVX-512 F, DQ, BW, VL */
#define LEAF7_EBX_AVX2	(1u << 5)
#define LEAF7_EBX_AVX512 ((1u << 16) | (1u << 17) | (1u << 30) | (1u << 31))

/* CPUID leaf 7, ECX: VBMI, VNNI, VPOPCNTDQ */
#define LEAF7_ECX_AVX512V ((1u << 1) | (1u << 11) | (1u << 14))

static unsigned
read_xcr0(void)
{
	unsigned	low,
				high;

	__asm__ volatile ("xgetbv":"=a" (low), "=d"(high):"c"(0));

	return low;
}

/* more: the processor has what its level's table may use beyond the level. */
static KernelLevel
detect_level(bool *more)
{
	unsigned	eax,
				ebx,
				ecx,
				edx,
				xcr0;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) ||
		(ecx & LEAF1_ECX_AVX2) != LEAF1_ECX_AVX2)
		return KERNEL_SCALAR;
	xcr0 = read_xcr0();
	if ((xcr0 & XCR0_AVX) != XCR0_AVX ||
		!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) ||
		(ebx & LEAF7_EBX_AVX2) == 0)
		return KERNEL_SCALAR;
	if ((xcr0 & XCR0_AVX512) != XCR0_AVX512 ||
		(ebx & LEAF7_EBX_AVX512) != LEAF7_EBX_AVX512)
		return KERNEL_AVX2;
	*more = (ecx & LEAF7_ECX_AVX512V) == LEAF7_ECX_AVX512V;
	return KERNEL_AVX512;
}

/* CPUID is dear on a virtual machine (it leaves the guest): ask once. */
static bool best_has_more = false;

static KernelLevel
best_level(void)
{
	static int	known = -1;

	if (known < 0)
		known = (int) detect_level(&best_has_more);
	return (KernelLevel) known;
}

#elif defined(__aarch64__)

static KernelLevel
best_level(void)
{
	return KERNEL_NEON;			/* part of the architecture */
}

#else

static KernelLevel
best_level(void)
{
	return KERNEL_SCALAR;
}

#endif

void
kernel_init(void)
{
	kernel = kernel_table(best_level());
}

const KernelTable *
kernel_plain_table(KernelLevel level)
{
	switch (level)
	{
		case KERNEL_SCALAR:
			return &kernel_scalar_table;
#if defined(__x86_64__)
		case KERNEL_AVX2:
			return best_level() >= KERNEL_AVX2 ? &kernel_avx2_table : NULL;
		case KERNEL_AVX512:
			return best_level() >= KERNEL_AVX512 ? &kernel_avx512_table : NULL;
#elif defined(__aarch64__)
		case KERNEL_NEON:
			return &kernel_neon_table;
#endif
		default:
			return NULL;
	}
}

const KernelTable *
kernel_table(KernelLevel level)
{
#if defined(__x86_64__)
	if (level == KERNEL_AVX512 && best_level() == KERNEL_AVX512 && best_has_more)
		return &kernel_avx512v_table;
#endif
	return kernel_plain_table(level);
}

bool
kernel_force(KernelLevel level)
{
	const KernelTable *table = kernel_table(level);

	if (table == NULL)
		return false;
	kernel = table;
	return true;
}
