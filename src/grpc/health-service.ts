// grpc.health.v1 for a process that listens only once it can serve: whoever gets an answer hears SERVING.
import type { handleUnaryCall, ServerWritableStream, UntypedServiceImplementation } from '@grpc/grpc-js'

interface HealthAnswer { readonly status: 'SERVING' }

export function healthService (): UntypedServiceImplementation {
  const check: handleUnaryCall<unknown, HealthAnswer> = (_call, answer) => answer(null, { status: 'SERVING' })
  const watch = (call: ServerWritableStream<unknown, HealthAnswer>): void => {
    call.write({ status: 'SERVING' })
    call.on('cancelled', () => call.end())
  }
  return { Check: check, Watch: watch }
}
