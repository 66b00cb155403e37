#include "textflag.h"

// fcntl(1, F_GETFD). The runtime's entry point needs only the stack pointer.
TEXT greetd_start(SB),NOSPLIT|NOFRAME,$0
	MOVQ $1, DI
	MOVQ $1, SI
	MOVQ $72, AX
	SYSCALL
	MOVQ AX, ·status(SB)
	JMP  _rt0_amd64_linux(SB)
