/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the verifier is to forget.  It follows a program once for each set of values that it
 * knows registers to have: a word that is one of ten constants makes ten ways through all
 * that comes after it, though each of them goes the same way.
 */
#ifndef VNETX_FORGET_H
#define VNETX_FORGET_H

/*
 * The same word, any one to the verifier: half of what was written into a place on the stack
 * (check_stack_read_fixed_off: mark_reg_unknown), which is not zero as a whole.
 */
static __always_inline __u32 forget(__u32 word)
{
	volatile __u64 place = (__u64)word << 32 | 1;

	return ((volatile __u32 *)&place)[__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__];
}

#endif
