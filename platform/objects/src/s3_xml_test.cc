// The XML reader: what S3 sends is read, what no server should send is refused.
#include "s3_xml.h"

#include <gtest/gtest.h>

namespace stella::objects {
namespace {

TEST(S3Xml, ReadsAListing) {
  const auto root = parse_xml(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- x --><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
      "<Name>b</Name><Contents><Key>a&amp;b&#x2f;&#252;&lt;</Key><Size>3</Size></Contents><Contents><Key><![CDATA[<c>]]></Key></Contents><Empty/></ListBucketResult>\n");
  ASSERT_TRUE(root) << root.error().describe();
  EXPECT_EQ(root->name, "ListBucketResult");
  EXPECT_EQ(root->str("Name"), "b");
  ASSERT_EQ(root->children.size(), 4u);
  EXPECT_EQ(root->children[1].str("Key"), "a&b/ü<");
  EXPECT_EQ(root->children[2].str("Key"), "<c>");
  EXPECT_EQ(root->str("Empty"), "");
  EXPECT_EQ(root->find("Missing"), nullptr);
}

TEST(S3Xml, PrefixesAndAttributesAreDropped) {
  const auto root = parse_xml("<s3:Grant xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'><Grantee xsi:type=\"x > y\">t</Grantee ></s3:Grant>");
  ASSERT_TRUE(root) << root.error().describe();
  EXPECT_EQ(root->name, "Grant");
  EXPECT_EQ(root->str("Grantee"), "t");
}

TEST(S3Xml, WhatIsNotWellFormedIsRefused) {
  for (const std::string text : {"", "x", "<a>", "<a></b>", "<a><b></a></b>", "<a/><b/>", "<a b></a>", "<a b=c></a>", "<a b='<'/>", "<a>&nbsp;</a>", "<a>&#0;</a>", "<a>&#xd800;</a>",
                                 "<a>&#99999999;</a>", "<a>&lt</a>", "<!DOCTYPE a><a/>", "<a><![CDATA[x</a>", "<a><!-- x</a>", "<a>\xff</a>", "<a b='c'd='e'/>", "<a>x</a>y", "< a/>"}) {
    EXPECT_EQ(parse_xml(text).error().code(), base_errors::kMalformed) << text;
  }
  EXPECT_EQ(parse_xml(std::string("<a>\0</a>", 8)).error().code(), base_errors::kMalformed);
}

TEST(S3Xml, DepthAndSizeAreBounded) {
  std::string deep;
  for (int i = 0; i < 17; ++i) deep += "<a>";
  EXPECT_EQ(parse_xml(deep).error().code(), base_errors::kLimit);
  EXPECT_EQ(parse_xml(std::string((8u << 20) + 1, ' ')).error().code(), base_errors::kLimit);
}

TEST(S3Xml, EscapedTextComesBack) {
  const std::string text = "a<b>&\"c'ü";
  EXPECT_EQ(parse_xml("<a>" + xml_escape(text) + "</a>")->text, text);
}

}  // namespace
}  // namespace stella::objects
