"""The official Python SDK as a robot that acknowledges and does nothing else: a baseline of `bench stream`.

Arguments: client id, client secret. DINGTALK_OPENAPI_ENDPOINT names the simulated cloud.
"""

import logging
import sys

import dingtalk_stream
from dingtalk_stream import AckMessage


class Acknowledge(dingtalk_stream.CallbackHandler):
    async def process(self, callback):
        return AckMessage.STATUS_OK, "OK"


logger = logging.getLogger("client")
logger.setLevel(logging.CRITICAL)
client = dingtalk_stream.DingTalkStreamClient(dingtalk_stream.Credential(*sys.argv[1:3]), logger)
client.register_callback_handler(dingtalk_stream.chatbot.ChatbotMessage.TOPIC, Acknowledge())
client.start_forever()
