#include "textflag.h"

// fcntl(1, F_GETFD). The runtime's entry point needs only the stack pointer.
TEXT greetd_start(SB),NOSPLIT|NOFRAME,$0
	MOVD $1, R0
	MOVD $1, R1
	MOVD $25, R8
	SVC
	MOVD R0, ·status(SB)
	JMP  _rt0_arm64_linux(SB)
