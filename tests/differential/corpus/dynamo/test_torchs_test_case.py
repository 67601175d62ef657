import torch
import torch._dynamo.test_case
from torch._dynamo.testing import CompileCounter


class TestOfTorchsOwnKind(torch._dynamo.test_case.TestCase):
    def test_counts(self):
        counter = CompileCounter()
        torch.compile(lambda x: x * 2 + 1, backend=counter)(torch.ones(3))
        self.assertEqual(counter.frame_count, 1)
        self.assertEqual(counter.op_count, 2)

    def test_limit(self):
        counter = CompileCounter()
        compiled = torch.compile(lambda x: x * 2, backend=counter, dynamic=False)
        for size in range(2, 14):
            compiled(torch.ones(size))
        self.assertEqual(counter.frame_count, 8)

    @torch._dynamo.config.patch(error_on_recompile=True)
    def test_patched(self):
        compiled = torch.compile(lambda x: x * 3, backend="eager", dynamic=False)
        compiled(torch.ones(2))
        with self.assertRaises(torch._dynamo.exc.RecompileError):
            compiled(torch.ones(3))

    def test_fails(self):
        self.assertEqual(torch.ones(3), torch.zeros(3))


class TestWithTheLogs(torch._dynamo.test_case.TestCase):
    def test_of_another_class(self):
        with self.assertRaisesRegex(torch._dynamo.exc.BackendCompilerFailed, "nothing here"):
            torch.compile(lambda x: x + 1, backend=lambda graph, inputs: raise_error())(
                torch.ones(3)
            )


def raise_error():
    raise RuntimeError("nothing here")
