"""The job helper against a server that breaks off, is busy, or refuses. Needs the standard library only.

    python -m unittest discover python/tests -p 'test_job*'
"""

import os
import pathlib
import sys
import unittest
from unittest import mock

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import kaogong_job
from fake_server import FakeServer, pictures_export

ITEMS = [(f"{at % 3}/{at}.bin", str(at % 3), "train", bytes([at]) * (at * 40)) for at in range(60)]


class JobHelper(unittest.TestCase):
    def serve(self, export, breaks=()):
        fake = FakeServer({"summary": {"kind": "images"}}, export, breaks)
        self.addCleanup(fake.close)
        patch = mock.patch.dict(os.environ, fake.environment())
        patch.start()
        self.addCleanup(patch.stop)
        return fake

    def test_every_picture_comes_once_though_the_stream_breaks(self):
        fake = self.serve(lambda query: pictures_export(ITEMS), [0.3, "busy", 0.7, 0.001])
        seen = list(kaogong_job.dataset("data").items(split="train"))
        self.assertEqual([(it.name, it.label, it.split, it.content) for it in seen], ITEMS)
        self.assertEqual(len(fake.calls), 5)
        self.assertIn("split=train", fake.calls[0])

    def test_rows_come_as_texts(self):
        self.serve(lambda query: "\ufeffname,age\n\"Mei, Li\",3\nx,\n".encode())
        rows = kaogong_job.dataset("data").table()
        self.assertEqual(rows, [{"name": "Mei, Li", "age": "3"}, {"name": "x", "age": ""}])

    def test_a_refusal_is_not_tried_again(self):
        fake = self.serve(lambda query: b"")
        os.environ["KAOGONG_TOKEN"] = "wrong"
        with self.assertRaisesRegex(kaogong_job.Refused, "who is calling"):
            list(kaogong_job.dataset("data").items())
        self.assertEqual(len(fake.calls), 1)

    def test_an_input_that_the_job_does_not_have_is_named(self):
        self.serve(lambda query: b"")
        with self.assertRaisesRegex(KeyError, "it has: data"):
            kaogong_job.dataset("digits")

    def test_a_server_that_is_gone_ends_the_wait(self):
        self.serve(lambda query: b"").close()
        with mock.patch("kaogong_job.server.PATIENCE_S", 0.5), self.assertRaises(kaogong_job.Gone):
            list(kaogong_job.dataset("data").items())


if __name__ == "__main__":
    unittest.main()
