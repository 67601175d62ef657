import unittest

import torch
from torch._dynamo.testing import CompileCounter


class TestCompiled(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.counter = CompileCounter()
        cls.compiled = staticmethod(torch.compile(lambda x: x + 1, backend=cls.counter))

    def setUp(self):
        self.x = torch.ones(3)

    def test_a_compiles(self):
        self.compiled(self.x)
        self.assertEqual(self.counter.frame_count, 1)

    def test_b_does_not_compile_again(self):
        self.compiled(self.x)
        self.assertEqual(self.counter.frame_count, 1)

    def test_c_fails(self):
        self.assertEqual(self.compiled(self.x).tolist(), [0, 0, 0])

    def test_d_subtests(self):
        for size in (2, 3, 4):
            with self.subTest(size=size):
                self.assertEqual(self.compiled(torch.zeros(size)).sum().item(), size)

    @unittest.skip("not today")
    def test_e_is_skipped(self):
        raise AssertionError

    @unittest.expectedFailure
    def test_f_fails_as_expected(self):
        torch.compile(lambda x: x + 1, backend=lambda graph, inputs: 1 / 0)(self.x)
